/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Layout of jemalloc's records on x86-64 (LG_PAGE 12, LG_VADDR 48, LG_QUANTUM
 * 4): jemalloc 5.3.0 include/jemalloc/internal/{edata,rtree,cache_bin,sc}.h,
 * 5.2.1 extent_structs.h, rtree.h, cache_bin.h. The surprising rule: which of
 * the two a process has is not asked from any version string; the records say
 * it, because only with the right one does the radix tree agree with what it
 * points to.
 */

#include <stdbool.h>
#include <stdint.h>

enum {
	JEMALLOC_LAYOUT_PAGE = 4096,
	JEMALLOC_LAYOUT_BLOCK = 2 << 20, /* HUGEPAGE */
	JEMALLOC_LAYOUT_EDATA = 128,     /* bytes of an edata_t / extent_t */
	JEMALLOC_LAYOUT_SMALL = 36,      /* size classes that live in slabs */
	JEMALLOC_LAYOUT_CLASSES = 232,   /* SC_NSIZES */
	JEMALLOC_LAYOUT_TABLE_LG = 18,   /* entries of the root, and of each leaf */
	JEMALLOC_LAYOUT_LEAF_LG = 30,    /* address bits below the root */
	JEMALLOC_LAYOUT_TABLE = 8 << 18  /* bytes of the root, and of each leaf */
};

enum jemalloc_state {
	JEMALLOC_ACTIVE,
	JEMALLOC_DIRTY,
	JEMALLOC_MUZZY,
	JEMALLOC_RETAINED,
	JEMALLOC_PASSING, /* being split, merged (5.3) */
};

struct jemalloc_layout {
	const char *name; /* "jemalloc 5.3" */
	unsigned state_at, state_bits, class_at, free_at;
	unsigned leaf_low_bits; /* bits of a leaf entry that are no address */
	bool leaf_has_state;
	bool head_is_pointer; /* of a cache bin (5.3); else a count and a pointer */
};
enum { JEMALLOC_N_LAYOUTS = 2 };
extern const struct jemalloc_layout jemalloc_layout_all[JEMALLOC_N_LAYOUTS];

/* An edata_t, decoded. */
struct jemalloc_record {
	uint64_t start, size; /* whole pages */
	unsigned arena;
	unsigned size_class; /* JEMALLOC_LAYOUT_CLASSES: none */
	unsigned n_free;     /* regions of a slab */
	enum jemalloc_state state;
	bool slab;
	uint64_t bitmap[8]; /* of a slab: 1 is free */
};

/* false: no record of this layout (size, state or class can't be). */
bool jemalloc_layout_record(const struct jemalloc_layout *l, const uint64_t words[16],
                            struct jemalloc_record *ret);

/* A leaf's entry. 0: empty. */
uint64_t jemalloc_layout_pointer(const struct jemalloc_layout *l, uint64_t entry);
/* Does the entry say of itself what the record it points to says? */
bool jemalloc_layout_agrees(const struct jemalloc_layout *l, uint64_t entry,
                            const struct jemalloc_record *r);

/* A block of metadata (base_block_t, base.h), whose first words are @words: its size
 * and the next of its chain. It is known by the record of its unused rest, which
 * ends where the block ends. Blocks begin at multiples of JEMALLOC_LAYOUT_BLOCK. */
bool jemalloc_layout_base(uint64_t at, const uint64_t words[5], uint64_t *ret_size,
                          uint64_t *ret_next);

/* Bytes of a size class. */
uint64_t jemalloc_layout_class_bytes(unsigned size_class);
/* Regions of a slab; 0: none of its class fits, or more than jemalloc has. */
unsigned jemalloc_layout_regions(const struct jemalloc_record *r);
/* Is a slab's bitmap as its count of free regions says? */
bool jemalloc_layout_counts(const struct jemalloc_record *r);
