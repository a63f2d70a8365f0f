/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* .gnu_debugdata: a small ELF file with the symbols that .dynsym lacks, packed
 * with xz inside the stripped file (gdb manual, "MiniDebugInfo"). Its table is
 * not a full one. */

#include "target/elf_file.h"

/* 0, -ENOENT when there is none, or -errno for one that is damaged or too big. */
int minidebug_open(struct elf_file *stripped, struct elf_file **ret);
