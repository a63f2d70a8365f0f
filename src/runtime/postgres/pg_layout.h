/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where the fields of a memory context are in one running server: worked out
 * from TopMemoryContext itself, not from a version. Every step must fit (links
 * back and forth, a block that names its owner), else there is no layout.
 */

#include <stdint.h>

#include "base/error.h"
#include "runtime/postgres/pg_memory.h"
#include "runtime/postgres/pg_methods.h"

struct pg_layout {
	struct pg_methods methods;
	uint64_t bias;
	uint64_t top; /* address of TopMemoryContext's struct */
	/* offsets in MemoryContextData; 0: the field does not exist */
	unsigned at_methods, at_parent, at_first_child, at_prev, at_next, at_name, at_ident,
		at_mem_allocated;
	unsigned header;       /* sizeof(MemoryContextData): the class's own fields follow */
	unsigned chunk_header; /* AllocSet, Slab: bytes before a chunk (8 or 16) */
};

enum {
	PG_ALLOCSET_BLOCK_HEADER = 40, /* aset.c, all versions: owner prev next free end */
	PG_ALLOCSET_FREELISTS = 11,
	PG_FREELIST_MIN = 8, /* chunk bytes of list 0 */
};

/* @top is what the variable TopMemoryContext holds. -EAGAIN when the memory
 * does not fit (a server in the middle of a change, or one with another
 * layout): err says which step. */
int pg_layout_find(struct pg_memory *m, const struct pg_methods *methods, uint64_t bias,
                   uint64_t top, struct pg_layout *ret, struct error *err);

/* Class of the context whose `methods` word is @word; -1: none. */
int pg_layout_class(const struct pg_layout *l, uint64_t word);
