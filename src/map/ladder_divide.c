/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/ladder_internal.h"

/* Claims that reach over the point where we are: a heap, the strongest on top. */
struct active {
	const struct ladder_claim **items;
	size_t n;
};

int ladder_divide_claim(struct ladder_work *w, uint64_t start, uint64_t end, uint32_t part,
                        enum ladder_rank rank, struct error *err)
{
	int r;

	if (start >= end)
		return 0;
	r = array_reserve(&w->claims, &w->cap_claims, w->n_claims + 1, err);
	if (r == 0) {
		w->claims[w->n_claims] = (struct ladder_claim){ start, end, part,
			                                        (uint32_t)w->n_claims, rank };
		w->n_claims++;
	}
	return r;
}

static bool is_stronger(const struct ladder_claim *a, const struct ladder_claim *b)
{
	return a->rank != b->rank ? a->rank > b->rank : a->order < b->order;
}

static void swap(const struct ladder_claim **a, const struct ladder_claim **b)
{
	const struct ladder_claim *x = *a;

	*a = *b;
	*b = x;
}

static void push(struct active *a, const struct ladder_claim *c)
{
	size_t i = a->n++;

	a->items[i] = c;
	for (; i && is_stronger(a->items[i], a->items[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&a->items[i], &a->items[(i - 1) / 2]);
}

static void pop(struct active *a)
{
	size_t i = 0;

	a->items[0] = a->items[--a->n];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < a->n && is_stronger(a->items[child + 1], a->items[child]))
			child++;
		if (child >= a->n || !is_stronger(a->items[child], a->items[i]))
			return;
		swap(&a->items[i], &a->items[child]);
		i = child;
	}
}

static int by_start(const void *a, const void *b)
{
	const struct ladder_claim *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

static int add_piece(struct ladder_work *w, uint64_t start, uint64_t end, uint32_t part,
                     uint32_t mapping, struct error *err)
{
	struct ladder_piece *last = w->n_pieces ? &w->pieces[w->n_pieces - 1] : NULL;
	int r;

	if (last && last->part == part && last->mapping == mapping &&
	    w->pages[w->n_pieces - 1].end == start) {
		w->pages[w->n_pieces - 1].end = end;
		return 0;
	}
	r = array_reserve(&w->pieces, &w->cap_pieces, w->n_pieces + 1, err);
	if (r == 0)
		r = array_reserve(&w->pages, &w->cap_pages, w->n_pieces + 1, err);
	if (r < 0)
		return r;
	w->pieces[w->n_pieces] = (struct ladder_piece){ mapping, part };
	w->pages[w->n_pieces++] = (struct pages_range){ .start = start, .end = end };
	return 0;
}

static bool is_runtime(const struct ladder_claim *c)
{
	return c->rank == LADDER_RUNTIME_PROVEN || c->rank == LADDER_RUNTIME_SHAPE;
}

/* The claim that keeps [start, end) of @m, or NULL. */
static const struct ladder_claim *keeper(struct ladder_work *w, const struct active *a,
                                         const struct mapping *m, uint64_t bytes)
{
	const struct ladder_claim *top = a->n ? a->items[0] : NULL;

	if (!top || !ladder_label_is_solid_file(w, m))
		return top;
	if (is_runtime(top)) {
		if (!w->file_over_heap) {
			w->file_over_heap = m;
			w->file_over_heap_kind = w->l.parts[top->part].heap.kind;
		}
		w->file_over_heap_bytes += bytes;
	}
	return NULL;
}

static int divide_mapping(struct ladder_work *w, uint32_t mapping, struct active *a, size_t *next,
                          struct error *err)
{
	const struct mapping *m = &w->maps.items[mapping];
	uint64_t at = m->start;
	int r = 0;

	while (r == 0 && at < m->end) {
		const struct ladder_claim *claim;
		uint64_t end = m->end;
		uint32_t part;

		for (; *next < w->n_claims && w->claims[*next].start <= at; (*next)++)
			push(a, &w->claims[*next]);
		while (a->n && a->items[0]->end <= at)
			pop(a);
		if (*next < w->n_claims && w->claims[*next].start < end)
			end = w->claims[*next].start;
		if (a->n && a->items[0]->end < end)
			end = a->items[0]->end;
		claim = keeper(w, a, m, end - at);
		if (claim)
			part = claim->part;
		else
			r = ladder_label_mapping(w, m, &part, err);
		if (r == 0)
			r = add_piece(w, at, end, part, mapping, err);
		at = end;
	}
	return r;
}

/* Mapped bytes of [start, end); *hint: a mapping that ends behind an earlier start. */
static uint64_t mapped_bytes(const struct maps *m, size_t *hint, uint64_t start, uint64_t end)
{
	uint64_t bytes = 0;

	while (*hint < m->n_items && m->items[*hint].end <= start)
		(*hint)++;
	for (size_t i = *hint; i < m->n_items && m->items[i].start < end; i++) {
		uint64_t from = m->items[i].start > start ? m->items[i].start : start;
		uint64_t to = m->items[i].end < end ? m->items[i].end : end;

		bytes += to > from ? to - from : 0;
	}
	return bytes;
}

/* Bytes that proven claims of different heaps of runtimes both want. */
static uint64_t overlap(const struct ladder_work *w)
{
	uint64_t bytes = 0, end = 0;
	uint32_t part = 0;
	size_t hint = 0;

	for (size_t i = 0; i < w->n_claims; i++) {
		const struct ladder_claim *c = &w->claims[i];

		if (c->rank != LADDER_RUNTIME_PROVEN)
			continue;
		if (c->start < end && c->part != part)
			bytes += mapped_bytes(&w->maps, &hint, c->start,
			                      c->end < end ? c->end : end);
		if (c->end > end) {
			end = c->end;
			part = c->part;
		}
	}
	return bytes;
}

int ladder_divide(struct ladder_work *w, struct error *err)
{
	cleanup_free const struct ladder_claim **items = calloc(w->n_claims + 1, sizeof(*items));
	struct active a = { .items = items };
	size_t next = 0;
	int r = 0;

	if (!items)
		return error_oom(err);
	if (w->n_claims)
		qsort(w->claims, w->n_claims, sizeof(*w->claims), by_start);
	for (size_t i = 0; r == 0 && i < w->maps.n_items; i++) {
		if (ladder_label_is_counted(&w->maps.items[i]))
			r = divide_mapping(w, (uint32_t)i, &a, &next, err);
	}
	w->l.overlap_bytes = overlap(w);
	return r;
}
