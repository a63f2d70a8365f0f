/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The separate debug file of a stripped ELF file: by build-id and by
 * .gnu_debuglink, in the target's root and in ours (the places that gdb looks
 * at: its manual, "Debugging Information in Separate Files"). A file whose
 * build-id is not that of the stripped one is refused, with a remark; without
 * build-id, the debuglink's CRC must fit.
 */

#include <stddef.h>

#include "target/elf_file.h"

/* @path: as the target has it; @roots: directories to look below, in order.
 * 0 or -ENOENT. */
int debug_file_open(struct elf_file *stripped, const char *path, const int *roots, size_t n_roots,
                    struct elf_file **ret);

/* Does @debug belong to @stripped by build-id, and has it what @stripped lacks? */
bool debug_file_fits(struct elf_file *stripped, struct elf_file *debug);

/* Has @f a section @name with bytes in the file? */
bool debug_file_has(const struct elf_file *f, const char *name);
