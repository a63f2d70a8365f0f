/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/search.h"

enum { MAX_EXTENTS = 1 << 26, TRIES = 3 };

void jemalloc_heap_clear(struct jemalloc_heap *h)
{
	free(h->extents);
	free(h->bases);
	*h = (struct jemalloc_heap){ .tree = h->tree };
}

struct walk {
	struct heap_memory *m;
	const struct maps *maps;
	struct jemalloc_heap *h;
	struct error *err;
	size_t mapping; /* the first that ends behind the last extent */
	uint8_t arenas[4096 / 8];
	int failed;
};

/* Are all bytes of the extent mapped? Extents come by address. */
static bool is_mapped(struct walk *w, const struct jemalloc_record *r)
{
	const struct maps *maps = w->maps;
	uint64_t at = r->start;

	while (w->mapping < maps->n_items && maps->items[w->mapping].end <= at)
		w->mapping++;
	for (size_t i = w->mapping; i < maps->n_items && maps->items[i].start <= at; i++) {
		at = maps->items[i].end;
		if (at >= r->start + r->size)
			return true;
	}
	return false;
}

static void sum_active(struct jemalloc_heap *h, const struct jemalloc_record *r)
{
	uint64_t bytes = jemalloc_layout_class_bytes(r->size_class), n;

	h->sums.active += r->size;
	if (!r->slab) {
		/* a small block that the profiler samples is made, and counted, as a large
		 * one (arena_prof_promote) */
		if (r->size_class < JEMALLOC_LAYOUT_SMALL)
			bytes = jemalloc_layout_class_bytes(JEMALLOC_LAYOUT_SMALL);
		h->sums.allocated += bytes;
		h->sums.large++;
		return;
	}
	n = jemalloc_layout_regions(r);
	h->sums.allocated += (n - r->n_free) * bytes;
	h->sums.slab_free += r->n_free * bytes;
	h->sums.slab_tail += r->size - n * bytes;
	h->sums.slabs++;
}

static void sum(struct jemalloc_heap *h, const struct jemalloc_record *r)
{
	switch (r->state) {
	case JEMALLOC_ACTIVE: sum_active(h, r); break;
	case JEMALLOC_DIRTY: h->sums.dirty += r->size; break;
	case JEMALLOC_MUZZY: h->sums.muzzy += r->size; break;
	case JEMALLOC_RETAINED: h->sums.retained += r->size; break;
	default: h->sums.passing += r->size; break;
	}
}

/* Does the record stand for the entry's page, and do both say the same of it? */
static bool is_sound(const struct walk *w, const struct jemalloc_entry *e,
                     const struct jemalloc_record *r)
{
	return e->addr >= r->start && e->addr - r->start < r->size &&
	       jemalloc_layout_agrees(w->h->tree.layout, e->entry, r) &&
	       (r->state != JEMALLOC_ACTIVE || !r->slab || jemalloc_layout_counts(r));
}

/* The record of an entry. On a running target the two may be of different times:
 * look again. 1 sound; 0 the entry has gone; -1 a contradiction that stays. */
static int look(struct walk *w, struct jemalloc_entry *e, struct jemalloc_record *r)
{
	for (unsigned i = 0; i < TRIES; i++) {
		if (i && heap_memory_fresh(w->m, e->slot, &e->entry, sizeof(e->entry)) < 0)
			return -1;
		if (!e->entry)
			return 0;
		if (jemalloc_rtree_record(w->m, w->h->tree.layout, e->entry, i, r) &&
		    is_sound(w, e, r))
			return 1;
		if (!w->m->target)
			break;
	}
	return -1;
}

static uint64_t add_extent(struct walk *w, const struct jemalloc_entry *e,
                           const struct jemalloc_record *r)
{
	struct jemalloc_heap *h = w->h;

	if (h->n_extents == MAX_EXTENTS)
		return UINT64_MAX;
	w->failed = array_reserve(&h->extents, &h->cap_extents, h->n_extents + 1, w->err);
	if (w->failed)
		return UINT64_MAX;
	h->extents[h->n_extents++] = (struct jemalloc_extent){
		.start = r->start,
		.size = r->size,
		.record = jemalloc_layout_pointer(h->tree.layout, e->entry),
		.arena = r->arena,
		.size_class = r->size_class,
		.state = r->state,
		.slab = r->slab,
		.n_regions = r->state == JEMALLOC_ACTIVE && r->slab
		                     ? (uint16_t)jemalloc_layout_regions(r)
		                     : 0,
		.n_free = (uint16_t)r->n_free,
	};
	h->n_arenas += !(w->arenas[r->arena / 8] >> r->arena % 8 & 1);
	w->arenas[r->arena / 8] |= 1 << r->arena % 8;
	sum(h, r);
	return r->start + r->size;
}

static uint64_t each_entry(const struct jemalloc_entry *entry, void *arg)
{
	struct walk *w = arg;
	struct jemalloc_entry e = *entry;
	struct jemalloc_record r;
	int sound = look(w, &e, &r);

	if (!sound)
		return 0;
	w->h->checked++;
	/* an extent is met at its first page; another page of one that was not is torn */
	if (sound < 0 || r.start != e.addr || !is_mapped(w, &r)) {
		w->h->inconsistent++;
		return 0;
	}
	return add_extent(w, &e, &r);
}

int jemalloc_heap_read(struct heap_memory *m, const struct maps *maps, struct jemalloc_heap *h,
                       struct error *err)
{
	struct walk w = { .m = m, .maps = maps, .h = h, .err = err };
	uint64_t bad = 0;
	int r = jemalloc_rtree_walk(m, maps, &h->tree, each_entry, &w, &bad);

	h->checked += bad;
	h->inconsistent += bad;
	if (w.failed)
		return w.failed;
	return r < 0 ? error_sys(err, -r, "the extents of jemalloc") : 0;
}

const struct jemalloc_extent *jemalloc_heap_find(const struct jemalloc_heap *h, uint64_t addr)
{
	size_t at = partition_point(h->n_extents, i,
	                            h->extents[i].start + h->extents[i].size <= addr);

	return at < h->n_extents && h->extents[at].start <= addr ? &h->extents[at] : NULL;
}
