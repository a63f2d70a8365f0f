/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/spans.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/search.h"

void spans_clear(struct spans *s)
{
	free(s->items);
	free(s->max_end);
	*s = (struct spans){ 0 };
}

int spans_add(struct spans *s, struct span one, struct error *err)
{
	int r;

	if (one.start >= one.end)
		return 0;
	r = array_reserve(&s->items, &s->cap_items, s->n_items + 1, err);
	if (r == 0)
		s->items[s->n_items++] = one;
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return -strcmp(x->name, y->name); /* the same answer on each run */
}

int spans_sort(struct spans *s, struct error *err)
{
	uint64_t max = 0;

	free(s->max_end);
	s->max_end = malloc((s->n_items + 1) * sizeof(*s->max_end));
	if (!s->max_end)
		return error_oom(err);
	if (s->n_items)
		qsort(s->items, s->n_items, sizeof(*s->items), by_start);
	for (size_t i = 0; i < s->n_items; i++) {
		if (s->items[i].end > max)
			max = s->items[i].end;
		s->max_end[i] = max;
	}
	return 0;
}

/* How many spans begin at or below @addr. */
static size_t count_below(const struct spans *s, uint64_t addr)
{
	return partition_point(s->max_end ? s->n_items : 0, i, s->items[i].start <= addr);
}

const struct span *spans_innermost(const struct spans *s, uint64_t addr)
{
	size_t i = count_below(s, addr);

	for (size_t walk = 0; i-- > 0 && s->max_end[i] > addr && walk < SPANS_MAX_WALK; walk++) {
		if (s->items[i].end > addr)
			return &s->items[i];
	}
	return NULL;
}

const struct span *spans_highest(const struct spans *s, uint64_t addr)
{
	const struct span *best = NULL;
	size_t i = count_below(s, addr);

	for (size_t walk = 0; i-- > 0 && s->max_end[i] > addr && walk < SPANS_MAX_WALK; walk++) {
		if (s->items[i].end > addr && (!best || s->items[i].rank > best->rank))
			best = &s->items[i];
	}
	return best;
}
