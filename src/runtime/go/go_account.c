/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_account.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/go/go_buckets.h"
#include "runtime/go/go_meta.h"
#include "runtime/go/go_spans.h"
#include "runtime/regions.h"
#include "target/pages.h"

enum { LARGE = 32768 }; /* sizeclasses.go: the largest size class */

/* What a piece of the runtime's memory is; each is a row but SPAN, which is three. */
enum what { SPAN, STACKS, WORK, IDLE, META, PROFILING, WHATS };

struct piece {
	uint64_t start, end;
	uint32_t span; /* of SPAN: index */
	enum what what;
};

struct pieces {
	struct piece *items; /* owned */
	size_t n, cap;
};

struct work {
	struct go_objects *o;
	const uint32_t *node;
	struct graph_account *to;
	struct regions regions; /* arenas, and what the runtime keeps about them */
	struct go_meta meta;
	struct pieces spans;  /* SPAN, STACKS, WORK by address */
	struct pieces pieces; /* all, by address */
	size_t at;            /* pieces before it have been passed */
	uint64_t live, garbage, waste, bits, mapped_waste;
	uint64_t bytes[WHATS], mapped[WHATS];
};

static void work_clear(struct work *w)
{
	regions_clear(&w->regions);
	free(w->spans.items);
	free(w->pieces.items);
}

static int add(struct pieces *to, uint64_t start, uint64_t end, enum what what, uint32_t span,
               struct error *err)
{
	struct piece *last = to->n ? &to->items[to->n - 1] : NULL;
	int r;

	if (last && last->what == what && what != SPAN && last->end == start && start < end) {
		last->end = end;
		return 0;
	}
	r = start < end ? array_reserve(&to->items, &to->cap, to->n + 1, err) : 0;
	if (r == 0 && start < end)
		to->items[to->n++] = (struct piece){ start, end, span, what };
	return r;
}

/* ---- the pieces ---- */

static int by_start(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Spans of objects as the graph has them, and those of stacks and of the collector's work. */
static int list_spans(struct work *w, struct error *err)
{
	const struct go_heap *h = &w->o->heap;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->o->n_spans; i++)
		r = add(&w->spans, w->o->spans[i].start, w->o->spans[i].end, SPAN, (uint32_t)i,
		        err);
	for (uint64_t i = 0; r == 0 && i < h->n_spans; i++) {
		struct go_heap_span s = { 0 };

		if (go_heap_read_span(&w->o->peek, h, peek_word(&w->o->peek, h->spans + 8 * i),
		                      &s) > 0 &&
		    s.state == GO_HEAP_MANUAL)
			r = add(&w->spans, s.start, s.start + s.pages * GO_HEAP_PAGE,
			        s.elemsize ? STACKS : WORK, 0, err);
	}
	if (r < 0 || !w->spans.n)
		return r;
	qsort(w->spans.items, w->spans.n, sizeof(w->spans.items[0]), by_start);
	for (size_t i = 0; i < w->spans.n; i++) {
		if (!n || w->spans.items[i].start >= w->spans.items[n - 1].end)
			w->spans.items[n++] = w->spans.items[i];
	}
	w->spans.n = n;
	return 0;
}

/* A piece of an arena: its spans, and what is between them. *next: spans before it are passed. */
static int add_arena(struct work *w, uint64_t start, uint64_t end, size_t *next, struct error *err)
{
	uint64_t at = start;
	int r = 0;

	while (*next < w->spans.n && w->spans.items[*next].end <= start)
		(*next)++;
	for (size_t i = *next; r == 0 && i < w->spans.n && w->spans.items[i].start < end; i++) {
		const struct piece *s = &w->spans.items[i];
		uint64_t from = s->start > at ? s->start : at, to = s->end < end ? s->end : end;

		r = add(&w->pieces, at, from, IDLE, 0, err);
		/* a span across two arenas comes in two pieces */
		if (r == 0)
			r = add(&w->pieces, from, to, s->what, s->span, err);
		at = to > at ? to : at;
	}
	return r < 0 ? r : add(&w->pieces, at, end, IDLE, 0, err);
}

static int add_meta(struct work *w, uint64_t start, uint64_t end, struct error *err)
{
	uint64_t from = w->meta.buckets, to = w->meta.buckets + w->meta.buckets_bytes;
	int r;

	from = from < start ? start : from > end ? end : from;
	to = to < from ? from : to > end ? end : to;
	r = add(&w->pieces, start, from, META, 0, err);
	if (r == 0)
		r = add(&w->pieces, from, to, PROFILING, 0, err);
	return r < 0 ? r : add(&w->pieces, to, end, META, 0, err);
}

static int list_pieces(struct work *w, struct error *err)
{
	size_t next = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->regions.n_ranges; i++) {
		const struct regions_range *range = &w->regions.ranges[i];

		for (uint64_t at = range->start, end; r == 0 && at < range->end; at = end) {
			end = (at / GO_HEAP_ARENA_BYTES + 1) * GO_HEAP_ARENA_BYTES;
			end = end < range->end ? end : range->end;
			r = go_heap_arena(&w->o->peek, &w->o->heap, at)
			            ? add_arena(w, at, end, &next, err)
			            : add_meta(w, at, end, err);
		}
	}
	return r;
}

/* ---- what the pages hold ---- */

static struct graph_account_class *class_of(struct work *w, const struct go_objects_span *s)
{
	return graph_account_class(w->to, s->elemsize > LARGE ? 0 : s->elemsize);
}

static void count_waste(struct work *w, const struct go_objects_span *s, uint64_t bytes)
{
	struct graph_account_class *c = class_of(w, s);

	w->waste += bytes;
	if (c)
		c->wasted_bytes += bytes;
}

static void count_used(struct work *w, const struct go_objects_span *s, uint64_t live,
                       uint64_t garbage)
{
	struct graph_account_class *c = class_of(w, s);

	w->live += live;
	w->garbage += garbage;
	if (c)
		c->in_use_bytes += live + garbage;
}

static void count_whole_span(struct work *w, const struct go_objects_span *s)
{
	uint64_t live = 0, taken, all = s->end - s->start;
	uint64_t bits = go_objects_bits_bytes(w->o, s);

	for (uint32_t i = 0; i < s->n; i++)
		live += w->node[s->first + i] != UINT32_MAX;
	/* torn by a running program, or a stale pointer to a slot that is free */
	taken = s->taken > live ? s->taken : live;
	count_used(w, s, live * s->elemsize, (taken - live) * s->elemsize);
	w->bits += bits;
	count_waste(w, s, all - taken * s->elemsize > bits ? all - taken * s->elemsize - bits : 0);
}

/* [@from, @to) of the span: slot by slot. */
static void count_part(struct work *w, size_t index, uint64_t from, uint64_t to)
{
	const struct go_objects_span *s = &w->o->spans[index];
	uint64_t slots_end = s->start + s->n * s->elemsize;
	uint64_t bits = s->end - go_objects_bits_bytes(w->o, s);

	for (uint64_t k = (from - s->start) / s->elemsize; from < to && k < s->n; k++) {
		uint64_t next = s->start + (k + 1) * s->elemsize;
		uint64_t bytes = (next < to ? next : to) - from;
		uint32_t slot = s->first + (uint32_t)k;

		if (w->node[slot] != UINT32_MAX)
			count_used(w, s, bytes, 0);
		else if (go_objects_is_free(w->o, index, slot))
			count_waste(w, s, bytes);
		else
			count_used(w, s, 0, bytes);
		from += bytes;
	}
	from = from > slots_end ? from : slots_end;
	if (from < to && bits < to) {
		uint64_t at = from > bits ? from : bits;

		w->bits += to - at;
		to = at;
	}
	if (from < to)
		count_waste(w, s, to - from);
}

static void count(struct work *w, const struct piece *p, uint64_t from, uint64_t to)
{
	const struct go_objects_span *s;

	if (p->what != SPAN) {
		w->bytes[p->what] += to - from;
		return;
	}
	s = &w->o->spans[p->span];
	if (from == s->start && to == s->end)
		count_whole_span(w, s);
	else
		count_part(w, p->span, from, to);
}

/* A run of present pages; they come ascending. */
static int count_run(void *arg, uint64_t start, uint64_t end, bool huge)
{
	struct work *w = arg;

	(void)huge;
	while (w->at < w->pieces.n && w->pieces.items[w->at].end <= start)
		w->at++;
	for (size_t i = w->at; i < w->pieces.n && w->pieces.items[i].start < end; i++) {
		const struct piece *p = &w->pieces.items[i];

		count(w, p, p->start > start ? p->start : start, p->end < end ? p->end : end);
	}
	return 0;
}

static int count_present(struct work *w, const struct target *t, struct error *err)
{
	const struct regions *g = &w->regions;
	cleanup_free struct pages_range *ranges = calloc(g->n_ranges + 1, sizeof(*ranges));

	if (!ranges)
		return error_oom(err);
	for (size_t i = 0; i < g->n_ranges; i++)
		ranges[i] = (struct pages_range){ g->ranges[i].start, g->ranges[i].end, { 0 } };
	return pages_each(t, ranges, g->n_ranges, count_run, w, err);
}

/* ---- the rows ---- */

static void add_classes(struct work *w)
{
	for (size_t i = 0; i < w->o->n_spans; i++) {
		struct graph_account_class *c = class_of(w, &w->o->spans[i]);

		if (c) {
			c->spans++;
			c->objects += w->o->spans[i].taken;
		}
	}
	graph_account_sort(w->to);
}

static void add_rows(struct work *w)
{
	const struct go_objects *o = w->o;
	uint64_t live = 0, spans = 0, records, profiling;

	for (size_t i = 0; i < w->pieces.n; i++)
		w->mapped[w->pieces.items[i].what] += w->pieces.items[i].end -
		                                      w->pieces.items[i].start;
	for (size_t i = 0; i < o->n_spans; i++) {
		uint64_t reached = 0;

		for (uint32_t k = 0; k < o->spans[i].n; k++)
			reached += w->node[o->spans[i].first + k] != UINT32_MAX;
		live += reached * o->spans[i].elemsize;
		spans += o->spans[i].end - o->spans[i].start;
	}
	/* buckets have been written to, so their pages are there */
	records = go_buckets_bytes(&w->o->peek, w->meta.buckets, w->meta.buckets_bytes);
	records = records < w->bytes[META] ? records : w->bytes[META];
	profiling = w->bytes[PROFILING] + records;
	graph_account_row(w->to, "live", "live", w->live, live);
	graph_account_row(w->to, "garbage", "garbage", w->garbage,
	                  o->taken_bytes > live ? o->taken_bytes - live : 0);
	graph_account_row(w->to, "fragmentation", "fragmentation", w->waste,
	                  spans > o->taken_bytes ? spans - o->taken_bytes : 0);
	if (w->to->is_resident)
		graph_account_row(w->to, "idle", "idle not returned", w->bytes[IDLE],
		                  w->mapped[IDLE]);
	graph_account_row(w->to, "stacks", "stacks", w->bytes[STACKS], w->mapped[STACKS]);
	graph_account_row(w->to, "collector", "collector's buffers", w->bytes[WORK],
	                  w->mapped[WORK]);
	if (!w->to->is_resident)
		return;
	graph_account_row(w->to, "runtime", "runtime", w->bytes[META] - records + w->bits,
	                  w->mapped[META] - records);
	graph_account_row(w->to, "profiling", "profile's buckets", profiling,
	                  w->mapped[PROFILING] + records);
}

static int find_regions(struct work *w, const struct go_spans *spans, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct regions_heap *heap;
	uint32_t index;
	int r = go_objects_maps(w->o->image, &maps, err);

	if (r == 0)
		r = regions_add_heap(&w->regions, REGIONS_GO, &heap, &index, err);
	if (r == 0)
		r = go_meta_add(&w->o->peek, &maps, &w->o->heap, spans, w->o->module->layout->minor,
		                &w->regions, index, &w->meta, err);
	if (r == 0)
		regions_join(&w->regions, 0);
	return r;
}

int go_account_make(struct go_objects *o, const uint32_t *node, struct graph_account *ret,
                    struct error *err)
{
	cleanup(work_clear) struct work w = { .o = o, .node = node, .to = ret };
	cleanup(go_spans_clear) struct go_spans spans = { 0 };
	const struct target *t = image_target(o->image);
	int r = go_spans_read(&o->peek, &o->heap, &spans, err);

	ret->kind = REGIONS_GO;
	ret->title = "Go";
	ret->is_resident = t != NULL;
	if (r == 0)
		r = find_regions(&w, &spans, err);
	if (r == 0)
		r = list_spans(&w, err);
	if (r == 0)
		r = list_pieces(&w, err);
	if (r == 0 && t)
		r = count_present(&w, t, err);
	for (size_t i = 0; r == 0 && !t && i < w.pieces.n; i++)
		count(&w, &w.pieces.items[i], w.pieces.items[i].start, w.pieces.items[i].end);
	if (r < 0)
		return r;
	add_rows(&w);
	add_classes(&w);
	return 0;
}
