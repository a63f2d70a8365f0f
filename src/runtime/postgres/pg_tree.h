/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * All memory contexts of a server process, read from outside, with the figures
 * that the server itself would print (MemoryContextStatsDetail): equal in every
 * row while it is idle. A busy server changes under the walk; every link and
 * sum is checked, so the answer is then "torn", not a wrong tree.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/postgres/pg_layout.h"
#include "runtime/postgres/pg_memory.h"

struct pg_context {
	uint64_t address;
	uint32_t parent; /* index; UINT32_MAX for the root */
	uint32_t level;  /* 0 for the root */
	uint32_t n_children;
	enum pg_class class;
	uint32_t name, ident; /* offsets in pg_tree.strings */
	uint64_t total, free, used;
	uint64_t blocks, free_chunks;
	/* Used bytes less the context's struct and the headers of its blocks: the
	 * chunks in use with their headers. Comparable with what probes of alloc
	 * and free add up to (Generation: chunks that were freed in a block still
	 * in use are counted). */
	uint64_t chunk_bytes;
};

struct pg_tree {
	struct pg_context *items; /* a context comes before its children */
	size_t n, cap;
	char *strings;
	size_t n_strings, cap_strings;
	uint64_t total, used, chunk_bytes; /* sums */
};
void pg_tree_clear(struct pg_tree *t);

const char *pg_tree_name(const struct pg_tree *t, const struct pg_context *c);
const char *pg_tree_ident(const struct pg_tree *t, const struct pg_context *c);

/* Names from the root to @c with '/' between them. */
void pg_tree_path(const struct pg_tree *t, const struct pg_context *c, char *buf, size_t size);

/* NULL when no context is at @address. */
const struct pg_context *pg_tree_find(const struct pg_tree *t, uint64_t address);

/* One walk. -EAGAIN: torn, *err says where; the tree is then unchanged. Names
 * as the server shows them: a hash table's context ("dynahash") goes by its
 * ident. */
int pg_tree_read(struct pg_memory *m, const struct pg_layout *l, struct pg_tree *ret,
                 struct error *err);
