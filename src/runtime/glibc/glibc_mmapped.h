/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Blocks that glibc's malloc gave a mapping of their own. No list leads to them:
 * a mapping is taken for one by its header (prev_size, size and the flag 2, which
 * together fill whole pages of it), and what was found is compared with malloc's
 * own counters. The surprising rule: the kernel joins neighbouring mappings, so
 * one mapping may be many blocks, or begin with somebody else's memory.
 */

#include "runtime/glibc/glibc_arena.h"

struct glibc_mmapped_block {
	uint64_t start, end; /* of the mapping it has */
	uint64_t at;         /* the chunk; the block starts at + 16; see glibc_mmapped_align() */
	uint64_t usable;
};

struct glibc_mmapped {
	struct glibc_mmapped_block *items; /* ascending */
	size_t n, cap;
	uint64_t bytes;
	bool proven; /* as many, and as many bytes, as malloc's counters say */
};
void glibc_mmapped_clear(struct glibc_mmapped *m); /* usable with cleanup() */

int glibc_mmapped_find(struct peek *p, const struct regions_input *in,
                       const struct glibc_arenas *arenas, struct glibc_mmapped *ret,
                       struct error *err);
/* memalign() leaves a first header in front: move @b->at to the chunk that was given out. */
void glibc_mmapped_align(struct peek *p, unsigned shift, struct glibc_mmapped_block *b);
