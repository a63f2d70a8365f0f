/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * mimalloc 2 of a process, read from outside: no root is needed, because its
 * segments are aligned to 32 or 64 MiB and describe themselves. Sources: mimalloc
 * 2.0.6, 2.0.9, 2.1.2 and 2.1.6, include/mimalloc/types.h and src/segment.c; fields
 * move between releases, so they are found by their values, and a layout is believed
 * only when the slices of a segment end where its table ends. The surprising
 * rule: blocks that another thread has freed stay counted as used until the
 * owner looks; they are subtracted here, so what is in use can be less than
 * mimalloc would say.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "runtime/heap_memory.h"
#include "runtime/regions.h"

enum { MIMALLOC_HEAP_SLICE = 64 * 1024, MIMALLOC_HEAP_SEGMENT = 32 << 20 };

struct mimalloc_segment {
	uint64_t start, size, committed;
	uint64_t cookie;        /* XOR address: one value for all segments of a process */
	uint64_t owner;         /* thread id; 0: abandoned */
	uint32_t slices, first; /* entries of the slice table; of them the header's */
};

/* A mi_page_t: blocks of one size. */
struct mimalloc_page {
	uint64_t start, size; /* its slices */
	uint64_t block_bytes;
	uint64_t lists[3]; /* heads: free, local_free, thread_free */
	uint64_t heap;
	uint64_t first; /* where its blocks begin, if the page says it (2.1.6); else 0 */
	uint32_t used, capacity;
	uint32_t foreign; /* of the used: freed by other threads */
};

struct mimalloc_heap {
	struct mimalloc_segment *segments; /* by address */
	size_t n_segments, cap_segments;
	struct mimalloc_page *pages; /* by address */
	size_t n_pages, cap_pages;
	uint64_t *owners; /* addresses of mi_heap_t */
	size_t n_owners, cap_owners;
	struct hash_map known; /* addresses of owners */
	const struct mimalloc_layout *layout;
	unsigned fields;         /* byte offset of segment_slices in a segment */
	struct hash_map offsets; /* block size -> where blocks begin, modulo block size */

	uint64_t segment_bytes, committed, abandoned;
	uint64_t used;         /* as mimalloc counts */
	uint64_t foreign_free; /* of it: freed by other threads, not collected */
	uint64_t n_foreign;
	uint64_t n_used, page_bytes;
	uint64_t checked, inconsistent;
};
/* How a release of mimalloc lays out its records; words. */
struct mimalloc_layout {
	const char *name; /* "2.0.9": the first release of those like it that was seen */
	uint64_t segment; /* bytes of an ordinary segment, and its alignment */
	unsigned entries; /* slice_entries and thread_id, behind segment_slices */
	unsigned owner;
	unsigned page_words;                       /* of a mi_page_t, and in it: */
	unsigned local_free, foreign, heap, start; /* start 0: none */
	unsigned delayed; /* word of a mi_heap_t; 0: behind its queues of pages */
};
void mimalloc_heap_clear(struct mimalloc_heap *h); /* { 0 } is empty */

int mimalloc_heap_read(struct heap_memory *m, const struct maps *maps, struct mimalloc_heap *h,
                       struct error *err);
const struct mimalloc_page *mimalloc_heap_find(const struct mimalloc_heap *h, uint64_t addr);
/* Where the blocks of a page begin. */
uint64_t mimalloc_heap_first(const struct mimalloc_heap *h, const struct mimalloc_page *p);
/* Is the block at @start free: on a list of its page, or given back by another thread? */
bool mimalloc_heap_is_free(struct heap_memory *m, const struct mimalloc_heap *h,
                           const struct mimalloc_page *p, uint64_t start);
