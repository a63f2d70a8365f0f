/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The Go runtime's layout by a program's own DWARF: of versions that the table
 * (go_layout.h) does not have, and to make and test that table. */

#include "base/error.h"
#include "runtime/go/go_layout.h"
#include "target/elf_file.h"

/* 1, *ret; 0: no DWARF, or not the runtime's. What is not found is GO_LAYOUT_NONE. */
int go_layout_dwarf_read(struct elf_file *elf, unsigned minor, struct go_layout *ret,
                         struct error *err);
