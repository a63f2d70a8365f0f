/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * runtime.mheap_ of a Go program: the list of all spans and the map of arenas.
 * Facts from src/runtime/mheap.go and DWARF of Go 1.17 to 1.27, 64 bits.
 */

#include <stdbool.h>
#include <stdint.h>

#include "runtime/peek.h"
#include "runtime/regions.h"

#define GO_HEAP_ARENA_BYTES (64ull << 20)
enum { GO_HEAP_PAGE = 8192 };

/* Offsets in mspan that differ between versions; startAddr 24 and npages 32 never did. */
struct go_heap_layout {
	const char *versions;
	uint8_t index, nelems, number_bytes; /* freeindex, nelems */
	uint8_t bits;                        /* allocBits, gcmarkBits behind it */
	uint8_t count;                       /* allocCount, 2 bytes; spanclass, state behind it */
	uint8_t elemsize;                    /* limit behind it */
};

struct go_heap_span {
	uint64_t at; /* address of the mspan */
	uint64_t start, pages, elemsize, limit, n_elems, free_index, bits, mark_bits;
	uint16_t count;
	uint8_t class_; /* spanclass: size class << 1 | noscan */
	enum { GO_HEAP_DEAD, GO_HEAP_IN_USE, GO_HEAP_MANUAL } state;
};

struct go_heap {
	struct regions_data data; /* of the module that has it */
	uint64_t all_spans;       /* address of mheap_.allspans */
	uint64_t spans, n_spans, cap_spans;
	const struct go_heap_layout *layout;
	uint64_t arena_map;    /* mheap_.arenas[0]: 4 Mi pointers to heapArena */
	uint64_t arena_offset; /* added to an address before it is an index */
	uint64_t arena_spans;  /* offset of heapArena.spans */
};

enum { GO_HEAP_MAP_ENTRIES = 1 << 22 }; /* arenaL2Bits on 64-bit Unix */

/* The next one in the module's data at or above *pos; 1 found (*pos is moved behind it), 0 none. */
int go_heap_next(struct peek *p, const struct maps *m, const struct regions_data *d, uint64_t *pos,
                 struct go_heap *ret, struct error *err);

/* The span whose record is at @at: 1; 0: its page is not there (each P keeps records in store that
 * nobody has written to yet: mheap.go, mspancache); -1: it contradicts itself. */
int go_heap_read_span(struct peek *p, const struct go_heap *h, uint64_t at,
                      struct go_heap_span *ret);
/* The heapArena of @addr, and the span that it names for @addr; 0: none. */
uint64_t go_heap_arena(struct peek *p, const struct go_heap *h, uint64_t addr);
uint64_t go_heap_span_of(struct peek *p, const struct go_heap *h, uint64_t addr);
