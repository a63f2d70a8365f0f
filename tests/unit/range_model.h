/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The same as map/range_set.h, one owner a page: too simple to be wrong. Bytes
 * choose the operations, so that a fuzzer and a test can share it. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "map/range_set.h"

enum { MODEL_PAGES = 600, MODEL_BASE = 16 };

struct model {
	struct range page[MODEL_PAGES]; /* end 0: not mapped; only owner and base count */
};

static inline uint64_t model_addr(size_t page)
{
	return (uint64_t)(page + MODEL_BASE) << 12;
}

static inline void model_require(bool ok)
{
	if (!ok)
		abort();
}

static inline void model_insert(struct model *m, const struct range *r, bool fill)
{
	for (size_t i = 0; i < MODEL_PAGES; i++) {
		if (model_addr(i) >= r->start && model_addr(i) < r->end &&
		    !(fill && m->page[i].end))
			m->page[i] = *r;
	}
}

static inline void model_move(struct model *m, size_t from, size_t n, size_t to)
{
	struct model old = *m;

	for (size_t i = 0; i < n; i++)
		m->page[from + i].end = 0;
	for (size_t i = 0; i < n; i++) {
		struct range *r = &m->page[to + i];

		if (!old.page[from + i].end)
			continue; /* what is there stays */
		*r = old.page[from + i];
		r->base += r->base ? model_addr(to) - model_addr(from) : 0;
	}
}

static inline bool model_same(const struct range *a, const struct range *b)
{
	return a->base == b->base && a->owner.time_ns == b->owner.time_ns &&
	       a->owner.stack == b->owner.stack && a->owner.tid == b->owner.tid &&
	       a->owner.kind == b->owner.kind && a->owner.prot == b->owner.prot &&
	       a->owner.flags == b->owner.flags;
}

/* Every page agrees; ranges are sorted, apart, joined, counted. */
static inline void model_compare(const struct model *m, const struct range_set *s)
{
	const struct range *r, *last = NULL;
	struct range_at at;
	uint64_t bytes = 0;
	size_t n = 0;

	for (size_t i = 0; i < MODEL_PAGES; i++) {
		r = range_set_find(s, model_addr(i) + 4095);
		model_require(!r == !m->page[i].end);
		model_require(!r || model_same(r, &m->page[i]));
	}
	for (r = range_set_from(s, 0, &at); r; r = range_set_next(s, &at)) {
		model_require(r->start < r->end && (!last || last->end <= r->start));
		bytes += r->end - r->start;
		last = r;
		n++;
	}
	model_require(bytes == s->bytes && n == s->n_ranges);
}

/* One operation of six bytes, on both. */
static inline void model_step(struct model *m, struct range_set *s, const uint8_t b[6])
{
	size_t from = (b[1] | b[2] << 8) % MODEL_PAGES, n = b[3] % (MODEL_PAGES - from) + 1;
	size_t to = (b[4] | b[5] << 8) % (MODEL_PAGES - n + 1);
	struct range r = { model_addr(from),
		           model_addr(from + n),
		           b[4] & 1 ? model_addr(from) : 0,
		           { .stack = b[4] & 7, .tid = b[5] & 3, .kind = b[5] >> 6 } };
	struct range_list list = { 0 };
	struct error err;

	switch (b[0] % 6) {
	case 0:
	case 1:
		model_require(range_set_insert(s, &r, &err) == 0);
		model_insert(m, &r, false);
		break;
	case 2:
		model_require(range_set_fill(s, &r, &err) == 0);
		model_insert(m, &r, true);
		break;
	case 3:
		model_require(range_set_remove(s, r.start, r.end, NULL, &err) == 0);
		for (size_t i = 0; i < n; i++)
			m->page[from + i].end = 0;
		break;
	case 4:
		model_require(range_set_remove(s, r.start, r.end, &list, &err) == 0);
		model_require(
			range_set_restore(s, &list, model_addr(to) - model_addr(from), &err) == 0);
		model_move(m, from, n, to);
		break;
	case 5:
		model_require(range_set_protect(s, r.start, r.end, b[4], 6, &err) == 0);
		model_require(range_set_flag(s, r.start, r.end, b[5] & 15, 2, &err) == 0);
		for (size_t i = from; i < from + n; i++) {
			struct range_owner *o = &m->page[i].owner;

			o->prot = (o->prot & ~6) | (b[4] & 6);
			o->flags = (o->flags | (b[5] & 15)) & ~2;
		}
		break;
	}
	range_set_list_clear(&list);
}
