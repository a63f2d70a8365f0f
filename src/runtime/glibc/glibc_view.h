/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What was read of one libc's heap: sums of each arena, thread caches, who uses what. */

#include "runtime/glibc/glibc_lists.h"
#include "runtime/glibc/glibc_tcache.h"
#include "runtime/glibc/glibc_threads.h"
#include "runtime/glibc/glibc_walk.h"

struct glibc_view_arena {
	struct glibc_walk_sum sum;
	struct glibc_lists_set fast;
	uint64_t fast_bytes;   /* by the fastbins' lists */
	uint64_t cached_bytes; /* in threads' caches; of this arena's chunks */
	uint64_t area_bytes;   /* all areas, heads included: what system_mem counts */
	bool whole;            /* the walks came to the end of each area */
	uint64_t binned;       /* free bytes by the bins' lists; when !whole */
};

struct glibc_view {
	struct peek *peek;
	const struct regions_input *in;
	struct glibc_arenas *arenas;
	struct glibc_view_arena *items; /* arenas->n */
	struct glibc_tcaches tcaches;
	size_t *tcache_arena; /* by index of tcaches: whose chunk it is */
	struct glibc_threads threads;
	struct glibc_lists_set cached; /* chunks, sorted */
	bool mangled;
	uint64_t checked, inconsistent; /* of the caches */
};
void glibc_view_clear(struct glibc_view *v); /* usable with cleanup() */
int glibc_view_read(struct peek *p, const struct regions_input *in, struct glibc_arenas *arenas,
                    struct glibc_view *ret, struct error *err);
/* The chunk around @addr in arena @arena: 1, 0 none. Fills all of *ret but heap. */
int glibc_view_block(struct glibc_view *v, size_t arena, uint64_t addr, struct regions_block *ret,
                     struct error *err);
