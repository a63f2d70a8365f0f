/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Static libraries and object files -> builds. Everything in them is hostile. What
 * relocations, and a linker's relaxations of them, may change is masked: System V ABI,
 * AMD64 supplement, "Relocation" (table of relocation types) and appendix B "Linker
 * Optimization"; TLS: Drepper, "ELF Handling For Thread-Local Storage" 5.5, and its
 * appendix on descriptors.
 */

#include "symbol/object_build.h"

/* Add the sections of an archive's, or object file's, @len bytes. @members: names, only of
 * those; NULL: of all. 0, -ENOEXEC with the reason. */
int object_archive_read(struct object_build *b, const uint8_t *bytes, size_t len,
                        const char *const *members, struct error *err);
