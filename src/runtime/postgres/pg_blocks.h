/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The blocks of one memory context. Each class keeps them in its own way
 * (src/backend/utils/mmgr/{aset,generation,slab,bump}.c, PostgreSQL 10 to 18);
 * where a class changed over time, the form is the one whose links close.
 * Everything read is suspect: a list that does not close is "torn", which a
 * running server is now and then.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/postgres/pg_layout.h"
#include "runtime/postgres/pg_memory.h"

struct pg_block {
	uint64_t address;
	uint64_t data; /* first chunk (with its header) */
	uint64_t fill; /* end of what was ever given out */
	uint64_t end;
	uint32_t n_chunks, n_free; /* where the class counts them (not AllocSet, Bump) */
};

struct pg_blocks {
	struct pg_block *items;
	size_t n, cap;
	unsigned block_header;
	uint64_t node_bytes;   /* context's own struct, where its total includes it */
	uint64_t empty_blocks; /* Slab 16+: whole blocks kept for reuse, not in items */
	/* Slab */
	uint64_t chunk_stride, chunks_per_block, block_bytes;
	/* AllocSet: chunks on the free lists, headers included */
	uint64_t free_chunks, free_bytes;
	const char *torn; /* set when -EAGAIN was returned: which check failed */
};
void pg_blocks_clear(struct pg_blocks *b);

/* Read the blocks of context @ctx into @b, replacing what was there (buffers
 * are kept). -EAGAIN: torn; -ENOMEM (err filled only then). */
int pg_blocks_read(struct pg_memory *m, const struct pg_layout *l, enum pg_class c, uint64_t ctx,
                   struct pg_blocks *b, struct error *err);
