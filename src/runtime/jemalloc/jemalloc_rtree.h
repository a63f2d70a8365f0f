/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * jemalloc's radix tree of extents, found by its shape: a table of 2^18 words
 * in a module's data, a word of which leads to a leaf whose entries lead to
 * records (edata_t) that say they stand for just that address. The surprising
 * rule: the index of a leaf in the root is not looked up but computed from what
 * the leaf's records say, so that one pass over the data is enough.
 */

#include <stdint.h>

#include "base/hash.h"
#include "runtime/heap_memory.h"
#include "runtime/jemalloc/jemalloc_layout.h"
#include "runtime/regions.h"
#include "target/maps.h"

struct jemalloc_rtree {
	const struct jemalloc_layout *layout;
	uint64_t root;
	struct regions_data data; /* the module's data that holds it */
};

/* One search through all modules of a process: what was learned of its memory, and
 * how much more may be read. */
struct jemalloc_rtree_search {
	struct heap_memory *m;
	const struct maps *maps;
	struct hash_map blocks; /* address / 2 MiB -> start of the metadata block there, or 0 */
	uint64_t read_bytes;    /* of words that looked like leaves */
};
void jemalloc_rtree_search_clear(struct jemalloc_rtree_search *s);

/* The next root in @d from *pos on (start with d->start). 1 found, *pos is behind
 * it; 0 no more. -ENOMEM, or what reading failed with. */
int jemalloc_rtree_find(struct jemalloc_rtree_search *s, const struct regions_data *d,
                        uint64_t *pos, struct jemalloc_rtree *ret);

/* An entry of the tree, as read. */
struct jemalloc_entry {
	uint64_t addr, entry; /* the page, and the leaf's word for it */
	uint64_t slot;        /* where that word is */
};
/* Call @each for all entries that are not empty, by address; those below what it
 * returns are skipped (0: none, UINT64_MAX: stop). Entries of leaves that no
 * tree can have are counted in *ret_bad. */
int jemalloc_rtree_walk(struct heap_memory *m, const struct maps *maps,
                        const struct jemalloc_rtree *t,
                        uint64_t (*each)(const struct jemalloc_entry *e, void *arg), void *arg,
                        uint64_t *ret_bad);

/* Read and decode what @entry points to. false: nothing there, or no record. */
bool jemalloc_rtree_record(struct heap_memory *m, const struct jemalloc_layout *l, uint64_t entry,
                           bool fresh, struct jemalloc_record *ret);
