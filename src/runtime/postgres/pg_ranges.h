/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which code belongs to a class of contexts without being a probed method:
 * helpers that a method jumps to (17+: AllocSetAlloc ends in a jump to
 * AllocSetAllocFromNewBlock), creators, other methods. What they call, malloc()
 * for a block or another method, is part of the call that is running.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/postgres/pg_code.h"
#include "runtime/postgres/pg_methods.h"

struct pg_range {
	uint64_t vaddr, size;
};

struct pg_ranges {
	struct pg_range *items;
	size_t n, cap;
};
void pg_ranges_clear(struct pg_ranges *r);

/* Add the functions of class @c: those of its table, its creator, and what they
 * reach by direct calls and jumps inside the same object file as long as it is
 * not exported. An exported function is somebody else's unless the table has
 * it: code between two methods is never taken as a whole. */
int pg_ranges_add(struct elf_file *elf, const struct pg_functions *functions,
                  const struct pg_methods *m, enum pg_class c, struct pg_ranges *to,
                  struct error *err);

/* Size of the function at @vaddr: of the exported symbol there, else what the
 * list of functions says; 0: not known. */
uint64_t pg_ranges_function_size(struct elf_file *elf, const struct pg_functions *functions,
                                 uint64_t vaddr);
