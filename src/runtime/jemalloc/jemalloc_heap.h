/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One jemalloc of a process: its extents, its metadata, its thread caches and
 * the sums that mallctl("stats....") would give. The surprising rule: nothing
 * is read of the blocks themselves, so the time depends on the number of
 * extents, not of bytes.
 */

#include <stdint.h>

#include "runtime/jemalloc/jemalloc_rtree.h"

struct jemalloc_extent {
	uint64_t start, size;
	uint64_t record; /* address of its edata_t */
	uint16_t arena;
	uint8_t size_class;
	uint8_t state; /* enum jemalloc_state */
	bool slab;
	uint16_t n_regions, n_free; /* of a slab */
};

/* A block of metadata (base_block_t); blocks of one arena form a chain. */
struct jemalloc_base {
	uint64_t start, size, next;
	bool known; /* this tree's records or arenas are in its chain */
};

struct jemalloc_sums {
	uint64_t allocated, active, dirty, muzzy, retained, passing;
	uint64_t slabs, slab_free; /* number; bytes of free regions in them */
	uint64_t slab_tail;        /* bytes behind their last region */
	uint64_t large;            /* number */
};

struct jemalloc_heap {
	struct jemalloc_rtree tree;
	struct jemalloc_extent *extents; /* by address, disjoint */
	size_t n_extents, cap_extents;
	struct jemalloc_base *bases; /* by address */
	size_t n_bases, cap_bases;
	struct jemalloc_sums sums;
	uint64_t base_bytes;
	uint64_t n_arenas;
	uint64_t caches, cached_items, cached_bytes; /* thread caches */
	uint64_t checked, inconsistent;
};
void jemalloc_heap_clear(struct jemalloc_heap *h); /* { 0 } is empty; keeps the tree */

/* Extents and sums of h->tree. -ENOMEM, -ESRCH ...: nothing can be read. */
int jemalloc_heap_read(struct heap_memory *m, const struct maps *maps, struct jemalloc_heap *h,
                       struct error *err);
/* The extent that holds @addr, or NULL. */
const struct jemalloc_extent *jemalloc_heap_find(const struct jemalloc_heap *h, uint64_t addr);
