/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * obmalloc's table of arenas, found by its shape from a word in a module's data,
 * and the pools that each arena is cut into. Facts from Objects/obmalloc.c of
 * 3.8 to 3.11 and Include/internal/pycore_obmalloc.h of 3.12 and 3.13.
 */

#include <stdbool.h>
#include <stdint.h>

#include "runtime/peek.h"
#include "runtime/regions.h"

struct cpython_arena {
	uint64_t start;  /* of the mapping; pools begin at the next multiple of their size */
	uint64_t carved; /* pools below this address have been used */
	uint32_t index;  /* in the table */
	uint32_t free_pools, pools;
};

struct cpython_arenas {
	struct cpython_arena *items; /* by address */
	size_t n_items, cap_items;
	uint64_t table;
	uint64_t pool_bytes, arena_bytes; /* 4 and 256 KiB up to 3.9, then 16 KiB and 1 MiB */
	uint64_t block_align;             /* 16 */
	uint64_t looked_at, proven;       /* arenas of the table, and those whose pools agree */
};
void cpython_arenas_clear(struct cpython_arenas *a); /* { 0 } is empty */

/* A pool's header that fits to its place, or not. */
struct cpython_pool {
	uint64_t start, block_bytes;
	uint32_t used;        /* blocks; 0: a free pool */
	uint32_t next_offset; /* blocks above were never given out */
	uint64_t free_list;
};
/* 1; 0: the page is not there; -1: contradicts. */
int cpython_arenas_pool(struct peek *p, const struct cpython_arenas *a,
                        const struct cpython_arena *arena, uint64_t start,
                        struct cpython_pool *ret);

/* The table whose address is the word @table; 1, 0 none. */
int cpython_arenas_at(struct peek *p, const struct maps *m, uint64_t table,
                      struct cpython_arenas *ret, struct error *err);
/* The next one that a word of [d->start, d->end) at or above *pos names. */
int cpython_arenas_next(struct peek *p, const struct maps *m, const struct regions_data *d,
                        uint64_t *pos, struct cpython_arenas *ret, struct error *err);
