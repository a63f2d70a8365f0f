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
	for (size_t i = 0; i < l->n; i++) {
		for (size_t k = 0; k < l->items[i].n_arenas; k++)
			free(l->items[i].arenas[k].classes);
		free(l->items[i].arenas);
	}
	*l = (struct jemalloc_stats_list){ 0 };
}

static void add_block(const struct jemalloc_extent *e, unsigned index, uint64_t blocks,
                      struct jemalloc_stats_class *c)
{
	c->size_bytes = jemalloc_layout_class_bytes(index);
	c->blocks += blocks;
	c->active_bytes += e->size;
	if (!e->slab)
		return;
	c->slabs++;
	c->regions = e->n_regions;
	c->free_bytes += e->n_free * c->size_bytes;
}

static void add_active(const struct jemalloc_extent *e, struct jemalloc_stats_arena *a,
                       struct jemalloc_stats_class *classes)
{
	/* what the profiler samples is made a large block (arena_prof_promote) */
	const unsigned index = !e->slab && e->size_class < JEMALLOC_LAYOUT_SMALL
	                               ? JEMALLOC_LAYOUT_SMALL
	                               : e->size_class;
	const uint64_t blocks = e->slab ? e->n_regions - e->n_free : 1;

	add_block(e, index, blocks, &classes[index]);
	add_block(e, index, blocks, &a->classes[index]);
	a->active += e->size;
	a->allocated += blocks * jemalloc_layout_class_bytes(index);
	if (e->slab)
		a->slabs++;
	else
		a->large++;
}

static void add(const struct jemalloc_extent *e, uint64_t resident, struct jemalloc_stats_arena *a,
                struct jemalloc_stats *to)
{
	switch (e->state) {
	case JEMALLOC_ACTIVE:
		to->resident.active += resident;
		if (e->size_class < JEMALLOC_LAYOUT_CLASSES)
			add_active(e, a, to->classes);
		break;
	case JEMALLOC_DIRTY:
		a->dirty += e->size;
		a->dirty_resident += resident;
		to->resident.dirty += resident;
		break;
	case JEMALLOC_MUZZY:
		a->muzzy += e->size;
		a->muzzy_resident += resident;
		to->resident.muzzy += resident;
		break;
	case JEMALLOC_RETAINED:
		a->retained += e->size;
		to->resident.retained += resident;
		break;
	default: to->resident.changing += resident; break;
	}
}

struct reading {
	struct heap_memory memory; /* for which pages are there */
	struct jemalloc_stats_list *list;
};

static void reading_clear(struct reading *r)
{
	heap_memory_clear(&r->memory);
}

/* The arenas that have anything, by number. */
static int find_arenas(const struct jemalloc_heap *h, struct jemalloc_stats *to, uint32_t *places,
                       struct error *err)
{
	for (size_t i = 0; i < h->n_extents; i++) {
		if (h->extents[i].arena < MAX_ARENAS)
			places[h->extents[i].arena] = 1;
	}
	for (unsigned i = 0; i < MAX_ARENAS; i++)
		to->n_arenas += places[i];
	to->arenas = calloc(to->n_arenas + 1, sizeof(*to->arenas));
	if (!to->arenas) {
		to->n_arenas = 0;
		return error_oom(err);
	}
	for (unsigned i = 0, n = 0; i < MAX_ARENAS; i++) {
		if (!places[i])
			continue;
		to->arenas[n].arena = i;
		to->arenas[n].classes = calloc(JEMALLOC_LAYOUT_CLASSES,
		                               sizeof(*to->arenas[n].classes));
		if (!to->arenas[n].classes)
			return error_oom(err);
		places[i] = n++;
	}
	return 0;
}

static int add_heap(const struct jemalloc_heap *h, void *arg, struct error *err)
{
	struct reading *in = arg;
	cleanup_free uint32_t *places = calloc(MAX_ARENAS, sizeof(*places));
	struct jemalloc_stats *to;
	int r;

	if (in->list->n == JEMALLOC_STATS_HEAPS)
		return 0;
	if (!places)
		return error_oom(err);
	to = &in->list->items[in->list->n++];
	snprintf(to->name, sizeof(to->name), "%s", h->tree.layout->name);
	to->metadata_bytes = h->base_bytes;
	r = find_arenas(h, to, places, err);
	for (size_t i = 0; r == 0 && i < h->n_extents; i++) {
		const struct jemalloc_extent *e = &h->extents[i];

		if (e->arena < MAX_ARENAS)
			add(e, heap_memory_resident(&in->memory, e->start, e->start + e->size),
			    &to->arenas[places[e->arena]], to);
	}
	for (size_t i = 0; i < h->n_bases; i++)
		to->resident.metadata += heap_memory_resident(&in->memory, h->bases[i].start,
		                                              h->bases[i].start + h->bases[i].size);
	return r;
}

int jemalloc_stats_read(const struct runtime_view *v, const struct regions_input *in,
                        struct jemalloc_stats_list *ret, struct error *err)
{
	cleanup(reading_clear) struct reading r = { .memory = { .target = v->target },
		                                    .list = ret };

	*ret = (struct jemalloc_stats_list){ 0 };
	return jemalloc_label_each(v, in, add_heap, &r, err);
}
