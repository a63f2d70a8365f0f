/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The figures of mallctl("stats.arenas...."), from outside: nothing is called.
 * The surprising rule: they are of now, while jemalloc's own are of the last
 * time that somebody advanced its epoch; and blocks in threads' caches count as
 * allocated, as in jemalloc's.
 */

#include <stddef.h>
#include <stdint.h>

#include "runtime/jemalloc/jemalloc_layout.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"

enum { JEMALLOC_STATS_HEAPS = 16 };

/* A size class; of the small ones @slabs with @regions each. */
struct jemalloc_stats_class {
	uint64_t size_bytes;     /* of a block */
	uint64_t blocks;         /* allocated */
	uint64_t slabs, regions; /* 0 of large ones */
	uint64_t active_bytes;   /* pages */
	uint64_t free_bytes;     /* of regions that are not allocated */
};

/* Bytes, but for @slabs and @large. */
struct jemalloc_stats_arena {
	unsigned arena; /* its number */
	uint64_t allocated, active, dirty, muzzy, retained;
	uint64_t dirty_resident, muzzy_resident;
	uint64_t slabs, large;
	struct jemalloc_stats_class *classes; /* JEMALLOC_LAYOUT_CLASSES */
};

/* Where its bytes that are in memory are: they sum to what the process's page tables have of it. */
struct jemalloc_stats_resident {
	uint64_t active, dirty, muzzy, retained, changing, metadata;
};

struct jemalloc_stats {
	char name[32];                       /* "jemalloc 5.3" */
	struct jemalloc_stats_arena *arenas; /* by number */
	size_t n_arenas;
	struct jemalloc_stats_class classes[JEMALLOC_LAYOUT_CLASSES];
	uint64_t metadata_bytes;
	struct jemalloc_stats_resident resident;
};

struct jemalloc_stats_list {
	struct jemalloc_stats items[JEMALLOC_STATS_HEAPS]; /* one for each jemalloc */
	size_t n;
};
void jemalloc_stats_clear(struct jemalloc_stats_list *l); /* { 0 } is empty */

/* n 0: there is none. */
int jemalloc_stats_read(const struct runtime_view *v, const struct regions_input *in,
                        struct jemalloc_stats_list *ret, struct error *err);
