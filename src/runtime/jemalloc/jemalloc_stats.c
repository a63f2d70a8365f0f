/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/jemalloc/jemalloc_heap.h"
#include "runtime/jemalloc/jemalloc_label.h"

enum { MAX_ARENAS = 4096 };

void jemalloc_stats_clear(struct jemalloc_stats_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i].arenas);
	*l = (struct jemalloc_stats_list){ 0 };
}

static void add_active(const struct jemalloc_extent *e, struct jemalloc_stats_arena *a,
                       struct jemalloc_stats_class *classes)
{
	/* what the profiler samples is made a large block (arena_prof_promote) */
	const unsigned index = !e->slab && e->size_class < JEMALLOC_LAYOUT_SMALL
	                               ? JEMALLOC_LAYOUT_SMALL
	                               : e->size_class;
	struct jemalloc_stats_class *c = &classes[index];
	const uint64_t blocks = e->slab ? e->n_regions - e->n_free : 1;

	c->size_bytes = jemalloc_layout_class_bytes(index);
	c->blocks += blocks;
	c->active_bytes += e->size;
	a->active += e->size;
	a->allocated += blocks * c->size_bytes;
	if (!e->slab) {
		a->large++;
		return;
	}
	a->slabs++;
	c->slabs++;
	c->regions = e->n_regions;
	c->free_bytes += e->n_free * c->size_bytes;
}

static void add(const struct jemalloc_extent *e, struct jemalloc_stats_arena *a,
                struct jemalloc_stats *to)
{
	switch (e->state) {
	case JEMALLOC_ACTIVE:
		if (e->size_class < JEMALLOC_LAYOUT_CLASSES)
			add_active(e, a, to->classes);
		break;
	case JEMALLOC_DIRTY: a->dirty += e->size; break;
	case JEMALLOC_MUZZY: a->muzzy += e->size; break;
	case JEMALLOC_RETAINED: a->retained += e->size; break;
	default: break;
	}
}

static int add_heap(const struct jemalloc_heap *h, void *arg, struct error *err)
{
	struct jemalloc_stats_list *l = arg;
	cleanup_free struct jemalloc_stats_arena *all = calloc(MAX_ARENAS, sizeof(*all));
	cleanup_free bool *has = calloc(MAX_ARENAS, sizeof(*has));
	struct jemalloc_stats *to;
	size_t n = 0;

	if (l->n == JEMALLOC_STATS_HEAPS)
		return 0;
	if (!all || !has)
		return error_oom(err);
	to = &l->items[l->n];
	snprintf(to->name, sizeof(to->name), "%s", h->tree.layout->name);
	to->metadata_bytes = h->base_bytes;
	for (size_t i = 0; i < h->n_extents; i++) {
		const struct jemalloc_extent *e = &h->extents[i];

		if (e->arena >= MAX_ARENAS)
			continue;
		has[e->arena] = true;
		add(e, &all[e->arena], to);
	}
	for (unsigned i = 0; i < MAX_ARENAS; i++) {
		if (!has[i])
			continue;
		all[n] = all[i];
		all[n++].arena = i;
	}
	to->n_arenas = n;
	to->arenas = take_ptr(all);
	l->n++;
	return 0;
}

int jemalloc_stats_read(const struct runtime_view *v, const struct regions_input *in,
                        struct jemalloc_stats_list *ret, struct error *err)
{
	*ret = (struct jemalloc_stats_list){ 0 };
	return jemalloc_label_each(v, in, add_heap, ret, err);
}
