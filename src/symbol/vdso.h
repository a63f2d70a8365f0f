/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The kernel's code page in each process, as an ELF file. */

#include "target/elf_file.h"
#include "target/maps.h"
#include "target/target.h"

/* Copy the vdso that the target has at @m, or our own, which the same kernel
 * made, where the target never touched its own (such pages are not read). */
int vdso_open(const struct target *t, const struct mapping *m, struct elf_file **ret,
              struct error *err);
