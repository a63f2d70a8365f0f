/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/range_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"

enum { CHUNK_RANGES = 128 };

struct range_chunk {
	size_t n;
	struct range items[CHUNK_RANGES];
};

void range_set_clear(struct range_set *s)
{
	for (size_t i = 0; i < s->n_chunks; i++)
		free(s->chunks[i]);
	free(s->chunks);
	*s = (struct range_set){ 0 };
}

void range_set_list_clear(struct range_list *l)
{
	free(l->items);
	*l = (struct range_list){ 0 };
}

/* ---- finding ---- */

/* The first range that ends behind @addr; at the end: chunk == n_chunks. */
static struct range_at seek(const struct range_set *s, uint64_t addr)
{
	struct range_at at = { 0, 0 };
	const struct range_chunk *c;

	at.chunk = partition_point(s->n_chunks, i,
	                           s->chunks[i]->items[s->chunks[i]->n - 1].end <= addr);
	if (at.chunk == s->n_chunks)
		return at;
	c = s->chunks[at.chunk];
	at.item = partition_point(c->n, i, c->items[i].end <= addr);
	return at;
}

static struct range *at_place(const struct range_set *s, struct range_at at)
{
	return at.chunk < s->n_chunks ? &s->chunks[at.chunk]->items[at.item] : NULL;
}

static struct range_at step(const struct range_set *s, struct range_at at)
{
	if (at.chunk < s->n_chunks && ++at.item == s->chunks[at.chunk]->n) {
		at.chunk++;
		at.item = 0;
	}
	return at;
}

const struct range *range_set_find(const struct range_set *s, uint64_t addr)
{
	const struct range *r = at_place(s, seek(s, addr));

	return r && r->start <= addr ? r : NULL;
}

const struct range *range_set_from(const struct range_set *s, uint64_t start, struct range_at *at)
{
	*at = seek(s, start);
	return at_place(s, *at);
}

const struct range *range_set_next(const struct range_set *s, struct range_at *at)
{
	*at = step(s, *at);
	return at_place(s, *at);
}

/* ---- changing ---- */

static int add_chunk(struct range_set *s, size_t at, struct error *err)
{
	struct range_chunk *c;
	int r = array_reserve(&s->chunks, &s->cap_chunks, s->n_chunks + 1, err);

	if (r < 0)
		return r;
	c = malloc(sizeof(*c));
	if (!c)
		return error_oom(err);
	c->n = 0;
	memmove(s->chunks + at + 1, s->chunks + at, (s->n_chunks - at) * sizeof(*s->chunks));
	s->chunks[at] = c;
	s->n_chunks++;
	return 0;
}

/* The upper half of a full chunk goes into a new one. */
static int split_chunk(struct range_set *s, size_t at, struct error *err)
{
	struct range_chunk *from, *to;
	int r = add_chunk(s, at + 1, err);

	if (r < 0)
		return r;
	from = s->chunks[at];
	to = s->chunks[at + 1];
	to->n = CHUNK_RANGES / 2;
	from->n -= to->n;
	memcpy(to->items, from->items + from->n, to->n * sizeof(*to->items));
	return 0;
}

/* Put @r before the place @at (as seek() gives it). */
static int put(struct range_set *s, struct range_at at, const struct range *r, struct error *err)
{
	struct range_chunk *c;
	int rc = 0;

	/* behind everything: at the end of the last chunk */
	if (at.chunk == s->n_chunks && s->n_chunks) {
		at.chunk--;
		at.item = s->chunks[at.chunk]->n;
	} else if (at.chunk == s->n_chunks) {
		rc = add_chunk(s, 0, err);
	}
	if (rc == 0 && s->chunks[at.chunk]->n == CHUNK_RANGES)
		rc = split_chunk(s, at.chunk, err);
	if (rc < 0)
		return rc;
	c = s->chunks[at.chunk];
	if (at.item > c->n) {
		at.item -= c->n;
		c = s->chunks[++at.chunk];
	}
	memmove(c->items + at.item + 1, c->items + at.item, (c->n - at.item) * sizeof(*r));
	c->items[at.item] = *r;
	c->n++;
	s->n_ranges++;
	return 0;
}

static void drop_chunk(struct range_set *s, size_t at)
{
	free(s->chunks[at]);
	s->n_chunks--;
	memmove(s->chunks + at, s->chunks + at + 1, (s->n_chunks - at) * sizeof(*s->chunks));
}

/* Two neighbours that are nearly empty become one. */
static void tidy(struct range_set *s, size_t at)
{
	struct range_chunk *a, *b;

	if (at + 1 >= s->n_chunks)
		return;
	a = s->chunks[at];
	b = s->chunks[at + 1];
	if (a->n + b->n > CHUNK_RANGES / 2)
		return;
	memcpy(a->items + a->n, b->items, b->n * sizeof(*b->items));
	a->n += b->n;
	drop_chunk(s, at + 1);
}

static void take(struct range_set *s, struct range_at at)
{
	struct range_chunk *c = s->chunks[at.chunk];

	c->n--;
	s->n_ranges--;
	memmove(c->items + at.item, c->items + at.item + 1, (c->n - at.item) * sizeof(*c->items));
	if (c->n)
		tidy(s, at.chunk);
	else
		drop_chunk(s, at.chunk);
}

/* No range goes across @addr any more. */
static int cut(struct range_set *s, uint64_t addr, struct error *err)
{
	struct range_at at = seek(s, addr);
	struct range *r = at_place(s, at), left;
	int rc;

	if (!r || r->start >= addr)
		return 0;
	left = *r;
	left.end = addr;
	r->start = addr;
	rc = put(s, at, &left, err);
	if (rc < 0)
		at_place(s, at)->start = left.start;
	return rc;
}

static bool same_owner(const struct range *a, const struct range *b)
{
	const struct range_owner *x = &a->owner, *y = &b->owner;

	return a->base == b->base && x->time_ns == y->time_ns && x->stack == y->stack &&
	       x->tid == y->tid && x->kind == y->kind && x->prot == y->prot && x->flags == y->flags;
}

/* Two ranges that meet at @addr and have one owner are one. */
static void join(struct range_set *s, uint64_t addr)
{
	struct range_at left = seek(s, addr - 1), right = step(s, left);
	struct range *a = at_place(s, left), *b = at_place(s, right);

	if (!a || !b || a->end != addr || b->start != addr || !same_owner(a, b))
		return;
	a->end = b->end;
	take(s, right);
}

static int cut_both(struct range_set *s, uint64_t start, uint64_t end, struct error *err)
{
	int r = cut(s, start, err);

	return r < 0 ? r : cut(s, end, err);
}

int range_set_remove(struct range_set *s, uint64_t start, uint64_t end, struct range_list *removed,
                     struct error *err)
{
	int r;

	if (start >= end)
		return 0;
	r = cut_both(s, start, end, err);
	while (r == 0) {
		struct range_at at = seek(s, start);
		struct range *range = at_place(s, at);

		if (!range || range->start >= end)
			break;
		if (removed) {
			r = array_reserve(&removed->items, &removed->cap_items,
			                  removed->n_items + 1, err);
			if (r < 0)
				break;
			removed->items[removed->n_items++] = *range;
		}
		s->bytes -= range->end - range->start;
		take(s, at);
	}
	return r;
}

int range_set_insert(struct range_set *s, const struct range *r, struct error *err)
{
	int rc;

	if (r->start >= r->end)
		return 0;
	rc = range_set_remove(s, r->start, r->end, NULL, err);
	if (rc == 0)
		rc = put(s, seek(s, r->start), r, err);
	if (rc < 0)
		return rc;
	s->bytes += r->end - r->start;
	join(s, r->start);
	join(s, r->end);
	return 0;
}

int range_set_fill(struct range_set *s, const struct range *r, struct error *err)
{
	uint64_t from = r->start;

	while (from < r->end) {
		const struct range *next = at_place(s, seek(s, from));
		struct range piece = *r;
		uint64_t skip_to;
		int rc;

		piece.start = from;
		piece.end = next && next->start < r->end ? next->start : r->end;
		skip_to = next && next->start < r->end ? next->end : r->end;
		if (piece.end < piece.start)
			piece.end = piece.start;
		rc = range_set_insert(s, &piece, err);
		if (rc < 0)
			return rc;
		from = skip_to;
	}
	return 0;
}

int range_set_restore(struct range_set *s, const struct range_list *l, uint64_t distance,
                      struct error *err)
{
	for (size_t i = 0; i < l->n_items; i++) {
		struct range r = l->items[i];
		int rc;

		r.start += distance;
		r.end += distance;
		r.base += r.base ? distance : 0;
		rc = range_set_insert(s, &r, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Call @change for each range of [@start, @end), cut to it. */
static int change_all(struct range_set *s, uint64_t start, uint64_t end,
                      void (*change)(struct range_owner *o, uint16_t a, uint16_t b), uint16_t a,
                      uint16_t b, struct error *err)
{
	int r;

	if (start >= end)
		return 0;
	r = cut_both(s, start, end, err);
	if (r < 0)
		return r;
	for (uint64_t addr = start; addr < end;) {
		struct range *range = at_place(s, seek(s, addr));

		if (!range || range->start >= end)
			break;
		addr = range->end;
		change(&range->owner, a, b);
		if (range->start > start)
			join(s, range->start);
	}
	join(s, start);
	join(s, end);
	return 0;
}

static void set_prot(struct range_owner *o, uint16_t prot, uint16_t mask)
{
	o->prot = (uint8_t)((o->prot & ~mask) | (prot & mask));
}

static void set_flag(struct range_owner *o, uint16_t set, uint16_t unset)
{
	o->flags = (uint16_t)((o->flags | set) & ~unset);
}

int range_set_protect(struct range_set *s, uint64_t start, uint64_t end, uint8_t prot, uint8_t mask,
                      struct error *err)
{
	return change_all(s, start, end, set_prot, prot, mask, err);
}

int range_set_flag(struct range_set *s, uint64_t start, uint64_t end, uint16_t set, uint16_t unset,
                   struct error *err)
{
	return change_all(s, start, end, set_flag, set, unset, err);
}

int range_set_copy(const struct range_set *from, struct range_set *to, struct error *err)
{
	struct range_set copy = { 0 };

	for (size_t i = 0; i < from->n_chunks; i++) {
		int r = add_chunk(&copy, i, err);

		if (r < 0) {
			range_set_clear(&copy);
			return r;
		}
		*copy.chunks[i] = *from->chunks[i];
	}
	copy.n_ranges = from->n_ranges;
	copy.bytes = from->bytes;
	range_set_clear(to);
	*to = copy;
	return 0;
}
