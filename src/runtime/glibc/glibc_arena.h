/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The arenas of glibc's malloc, found by shape: no symbol is needed, so a
 * stripped static program is as good as any. Layouts of x86-64, read in
 * malloc/malloc.c and malloc/arena.c of glibc 2.31 to 2.43, and chosen by
 * self-checks, never by a version. The surprising rule: since 2.43 there are no
 * fastbins, and everything behind them is 88 bytes nearer to the start; here
 * offsets count from where the older layout would start ("base").
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/peek.h"
#include "runtime/regions.h"

enum {
	GLIBC_ARENA_FASTBINS = 10,
	GLIBC_ARENA_BINS = 127,
	GLIBC_ARENA_MAX = 4096,
};

/* One stretch of chunks: what brk gave, or a heap (heap_info) of another arena. */
struct glibc_area {
	uint64_t base;  /* where its memory starts: the heap_info, or the first chunk */
	uint64_t first; /* first chunk */
	uint64_t end;   /* behind its last byte in use; the top chunk of the arena ends here */
	uint64_t limit; /* what is reserved: base + heap_max; for brk: end */
	bool has_top;
};

struct glibc_arena {
	uint64_t at;   /* its struct malloc_state */
	uint64_t base; /* at - shift */
	bool is_main, contiguous;
	uint64_t top, top_bytes, next, attached_threads;
	uint64_t system_bytes; /* system_mem */
	uint64_t fastbins[GLIBC_ARENA_FASTBINS];
	uint64_t bins[GLIBC_ARENA_BINS * 2];
	unsigned odd_bins; /* contradictions: torn by a running target */
	struct glibc_area *areas;
	size_t n_areas, cap_areas;
	bool broken; /* the list of heaps ended early */
};

/* struct malloc_par, as far as it is known. */
struct glibc_params {
	bool found;
	uint64_t trim_threshold, mmap_threshold, mmapped_bytes;
	uint32_t n_mmaps;
	uint64_t hp_pagesize, thp_pagesize;
};

/* One libc: the main arena and those linked to it. [0] is the main arena, the
 * others follow in the order in which they were made. */
struct glibc_arenas {
	struct glibc_arena *items;
	size_t n, cap;
	unsigned shift; /* 0 or 88 */
	uint64_t heap_max;
	struct glibc_params params;
	uint64_t checked, inconsistent;
};
void glibc_arena_clear(struct glibc_arenas *a); /* { 0 } is empty; usable with cleanup() */

/* The next libc with an arena in use; *pos counts modules, start with 0. 1 found (*ret filled,
 * the caller clears it), 0 there is none, -ENOMEM. */
int glibc_arena_next(struct peek *p, const struct regions_input *in, const char *exe, size_t *pos,
                     struct glibc_arenas *ret, struct error *err);
/* The state as it is now, into @a; false when it can't be read or is no arena any more. Its
 * areas stay. */
bool glibc_arena_refresh(struct peek *p, const struct maps *m, unsigned shift,
                         struct glibc_arena *a);
int glibc_arena_add_area(struct glibc_arena *a, struct glibc_area area, struct error *err);
/* Fill the areas anew. */
int glibc_arena_areas(struct peek *p, const struct regions_input *in,
                      const struct glibc_arenas *all, struct glibc_arena *a, struct error *err);
/* The arena and area with @addr; NULL: none. */
const struct glibc_area *glibc_arena_area_of(const struct glibc_arenas *all, uint64_t addr,
                                             size_t *ret_arena);
