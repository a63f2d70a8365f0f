/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/musl/musl_heap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/musl/musl_meta.h"

enum { MAX_AREAS = 1 << 15 };

struct sums {
	uint64_t groups, nested, blocks, block_bytes, slot_bytes, free_bytes, mapped_bytes;
	uint64_t areas, checked, inconsistent;
	/* Slots in use whose block was gone before it could be read. */
	uint64_t torn_bytes, torn_mapped;
};

/* All areas of a context, each once; @each is called for each group. */
struct walk {
	struct peek *p;
	const struct maps *maps;
	const struct musl_meta_context *context;
	int (*area)(struct walk *w, uint64_t at, struct error *err);
	int (*group)(struct walk *w, const struct musl_meta_group *g, struct error *err);
	void *ctx;
	struct sums sums;
};

static void add_torn(struct walk *w, const struct musl_meta_group *g, unsigned n)
{
	if (g->mapped && g->n_slots == 1)
		w->sums.torn_mapped += n * g->stride;
	else
		w->sums.torn_bytes += n * g->stride;
}

static int walk_area(struct walk *w, uint64_t at, const struct musl_meta_area *a, struct error *err)
{
	for (unsigned i = 0; i < MUSL_META_SLOTS; i++) {
		struct musl_meta_group g;
		int r = musl_meta_group(w->p, w->maps, a, at, i, &g);

		if (r != 0)
			w->sums.checked++;
		if (r < 0)
			w->sums.inconsistent++;
		if (r == -2)
			add_torn(w, &g, g.n_slots - __builtin_popcount(g.free));
		if (r <= 0)
			continue;
		r = w->group(w, &g, err);
		if (r != 0)
			return r;
	}
	return 0;
}

struct areas {
	struct area {
		uint64_t at;
		struct musl_meta_area content;
	} * items;
	size_t n, cap;
};

static void areas_clear(struct areas *a)
{
	free(a->items);
}

/* All pages of metadata at once, so that a block that moves in a running target is
 * seen once: what they say is the census, the memory they lead to is read after. */
static int read_areas(struct walk *w, struct areas *to, struct error *err)
{
	cleanup(hash_map_clear) struct hash_map seen = { 0 };
	uint64_t at = w->context->first_area;

	peek_forget(w->p);
	while (at && !w->p->gone) {
		struct area *a;
		int r = array_reserve(&to->items, &to->cap, to->n + 1, err);

		if (r < 0)
			return r;
		a = &to->items[to->n];
		w->sums.checked++;
		if (to->n >= MAX_AREAS || hash_map_get(&seen, at) ||
		    !musl_meta_read_area(w->p, w->context, at, &a->content)) {
			w->sums.inconsistent++;
			return 0;
		}
		r = hash_map_put(&seen, at, 1, err);
		if (r < 0)
			return r;
		a->at = at;
		to->n++;
		at = a->content.next;
	}
	return 0;
}

/* 0, or what a callback returned. */
static int walk_context(struct walk *w, struct error *err)
{
	cleanup(areas_clear) struct areas areas = { 0 };
	int r = read_areas(w, &areas, err);

	w->sums.areas = areas.n;
	for (size_t i = 0; r == 0 && i < areas.n; i++) {
		if (w->area)
			r = w->area(w, areas.items[i].at, err);
		if (r == 0)
			r = walk_area(w, areas.items[i].at, &areas.items[i].content, err);
	}
	return r;
}

struct labels {
	struct regions *to;
	uint32_t heap;
};

static int label_area(struct walk *w, uint64_t at, struct error *err)
{
	const struct labels *l = w->ctx;
	const struct mapping *guard = maps_find(w->maps, at - 1);
	int r = regions_add_range(l->to, l->heap, at, at + MUSL_META_PAGE, REGIONS_PROVEN, err);

	/* alloc_meta() keeps a page that can't be touched in front */
	if (r == 0 && guard && !guard->inode && guard->end == at &&
	    !(guard->prot & (MAPS_READ | MAPS_WRITE | MAPS_EXEC | MAPS_SHARED)) &&
	    guard->end - guard->start == MUSL_META_PAGE)
		r = regions_add_range(l->to, l->heap, guard->start, guard->end, REGIONS_SHAPE, err);
	return r;
}

static void add_blocks(struct walk *w, const struct musl_meta_group *g)
{
	for (unsigned i = 0; i < g->n_slots; i++) {
		struct musl_meta_block b;

		if (g->free >> i & 1) {
			w->sums.free_bytes += g->stride;
			continue;
		}
		w->sums.checked++;
		if (!musl_meta_block(w->p, g, i, &b)) {
			w->sums.inconsistent++;
			add_torn(w, g, 1);
			continue;
		}
		if (b.is_group) {
			w->sums.nested++;
			continue;
		}
		w->sums.blocks++;
		w->sums.block_bytes += b.size;
		w->sums.slot_bytes += g->stride;
	}
}

static int label_group(struct walk *w, const struct musl_meta_group *g, struct error *err)
{
	const struct labels *l = w->ctx;

	w->sums.groups++;
	w->sums.mapped_bytes += g->mapped;
	add_blocks(w, g);
	if (!g->mapped)
		return 0;
	return regions_add_range(l->to, l->heap, g->mem, g->mem + g->mapped, REGIONS_PROVEN, err);
}

/* Pages that were reserved for metadata, and can't be touched before they are needed. */
static int label_spare(const struct walk *w, const struct labels *l, struct error *err)
{
	const struct musl_meta_context *c = w->context;
	const struct mapping *v = c->n_spare ? maps_find(w->maps, c->spare_areas) : NULL;

	if (!v || v->inode || c->n_spare > (v->end - c->spare_areas) / MUSL_META_PAGE)
		return 0;
	return regions_add_range(l->to, l->heap, c->spare_areas,
	                         c->spare_areas + c->n_spare * MUSL_META_PAGE, REGIONS_PROVEN, err);
}

/* In a target that runs, a slot that was in use when its mask was read counts, as
 * full as others are: what it held was allocated again elsewhere, unseen. */
static uint64_t torn_blocks(const struct sums *s)
{
	double full = s->slot_bytes ? (double)s->block_bytes / s->slot_bytes : 1;

	return s->torn_mapped + s->torn_bytes * full;
}

static void fill_heap(const struct sums *s, bool stopped, struct regions_heap *h)
{
	snprintf(h->name, sizeof(h->name), "mallocng");
	snprintf(h->evidence, sizeof(h->evidence),
	         "%" PRIu64 " pages of metadata with one secret; %" PRIu64
	         " groups lead back to them",
	         s->areas, s->groups);
	snprintf(h->detail, sizeof(h->detail), "%" PRIu64 " blocks", s->blocks);
	h->in_use_bytes = s->block_bytes + (stopped ? 0 : torn_blocks(s));
	h->cached_bytes = 0; /* mallocng has no thread caches */
	h->checked = s->checked;
	h->inconsistent = s->inconsistent;
	regions_figure(h, "blocks", "blocks", s->blocks);
	regions_figure(h, "slot_bytes", "their slots", s->slot_bytes);
	regions_figure(h, "free_bytes", "free slots", s->free_bytes);
	regions_figure(h, "mapped_bytes", "mapped", s->mapped_bytes);
	regions_figure(h, "metadata_bytes", "metadata", s->areas * MUSL_META_PAGE);
}

static int label_context(struct peek *p, const struct regions_input *in,
                         const struct musl_meta_context *c, struct regions *to, struct error *err)
{
	struct labels l = { .to = to };
	struct walk w = { p, in->maps, c, label_area, label_group, &l, { 0 } };
	struct regions_heap *h;
	int r = regions_add_heap(to, REGIONS_MUSL, &h, &l.heap, err);

	if (r == 0)
		r = walk_context(&w, err);
	if (r == 0)
		r = label_spare(&w, &l, err);
	if (r == 0)
		fill_heap(&w.sums, in->stopped, &to->heaps[l.heap]);
	return r;
}

int musl_heap_label(struct peek *p, const char *exe, const struct regions_input *in,
                    struct regions *to, struct error *err)
{
	struct musl_meta_context c;
	size_t pos = 0;
	int r;

	while ((r = musl_meta_next(p, in, exe, &pos, &c, err)) > 0) {
		r = label_context(p, in, &c, to, err);
		if (r < 0)
			return r;
	}
	return r;
}

struct search {
	uint64_t addr;
	struct musl_meta_group found; /* the smallest around addr */
};

static int search_group(struct walk *w, const struct musl_meta_group *g, struct error *err)
{
	struct search *s = w->ctx;

	if (s->addr >= g->mem + MUSL_META_HEADER && s->addr < g->mem + g->bytes &&
	    (!s->found.bytes || g->bytes < s->found.bytes))
		s->found = *g;
	return 0;
}

static void describe(struct peek *p, const struct musl_meta_group *g, uint64_t addr,
                     struct regions_block *ret)
{
	unsigned i = (addr - g->mem - MUSL_META_HEADER) / g->stride;
	struct musl_meta_block b;

	*ret = (struct regions_block){ .kind = REGIONS_MUSL,
		                       .start = g->mem + MUSL_META_HEADER + g->stride * i,
		                       .size = g->stride - 4,
		                       .state = REGIONS_BLOCK_FREE };
	snprintf(ret->heap, sizeof(ret->heap), "mallocng");
	snprintf(ret->detail, sizeof(ret->detail), "%s %u of %u, of %" PRIu64 " bytes",
	         g->free >> i & 1 ? "free slot" : "slot", i + 1, g->n_slots, g->stride);
	if (g->free >> i & 1)
		return;
	ret->state = REGIONS_BLOCK_LIVE;
	if (!musl_meta_block(p, g, i, &b))
		return;
	ret->start = b.start;
	ret->size = b.size;
}

int musl_heap_find_block(struct peek *p, const char *exe, const struct regions_input *in,
                         uint64_t addr, struct regions_block *ret, struct error *err)
{
	struct musl_meta_context c;
	size_t pos = 0;
	int r;

	while ((r = musl_meta_next(p, in, exe, &pos, &c, err)) > 0) {
		struct search s = { .addr = addr };
		struct walk w = { p, in->maps, &c, NULL, search_group, &s, { 0 } };

		r = walk_context(&w, err);
		if (r < 0)
			return r;
		if (!s.found.bytes)
			continue;
		describe(p, &s.found, addr, ret);
		return 1;
	}
	return r;
}
