/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/regions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

void regions_clear(struct regions *r)
{
	free(r->heaps);
	free(r->ranges);
	free(r->findings);
	*r = (struct regions){ 0 };
}

int regions_add_heap(struct regions *r, const char *kind, struct regions_heap **ret,
                     uint32_t *ret_index, struct error *err)
{
	int e = array_reserve(&r->heaps, &r->cap_heaps, r->n_heaps + 1, err);

	if (e < 0)
		return e;
	r->heaps[r->n_heaps] =
		(struct regions_heap){ .kind = kind, .in_use_bytes = -1, .cached_bytes = -1 };
	if (ret_index)
		*ret_index = r->n_heaps;
	*ret = &r->heaps[r->n_heaps++];
	return 0;
}

int regions_add_range(struct regions *r, uint32_t heap, uint64_t start, uint64_t end,
                      enum regions_claim claim, struct error *err)
{
	int e;

	if (heap >= r->n_heaps || start >= end)
		return error_set(err, EINVAL, "a region without heap or bytes");
	e = array_reserve(&r->ranges, &r->cap_ranges, r->n_ranges + 1, err);
	if (e < 0)
		return e;
	r->ranges[r->n_ranges++] =
		(struct regions_range){ .start = start, .end = end, .heap = heap, .claim = claim };
	return 0;
}

static bool is_anonymous(const struct mapping *m)
{
	return !m->inode && !(m->prot & MAPS_SHARED) &&
	       (m->name[0] != '[' || strncmp(m->name, "[anon:", 6) == 0 ||
	        strcmp(m->name, "[heap]") == 0);
}

int regions_add_anonymous(struct regions *r, uint32_t heap, const struct maps *m, uint64_t start,
                          uint64_t end, enum regions_claim claim, uint64_t *ret_bytes,
                          struct error *err)
{
	uint64_t from = 0, to = 0, bytes = 0;
	int e = 0;

	for (size_t i = maps_first_behind(m, start); i < m->n_items && m->items[i].start < end;
	     i++) {
		const struct mapping *x = &m->items[i];
		uint64_t s = x->start > start ? x->start : start;
		uint64_t t = x->end < end ? x->end : end;

		if (!is_anonymous(x))
			continue;
		bytes += t - s;
		if (s == to) {
			to = t;
			continue;
		}
		if (to > from)
			e = regions_add_range(r, heap, from, to, claim, err);
		if (e < 0)
			return e;
		from = s;
		to = t;
	}
	if (to > from)
		e = regions_add_range(r, heap, from, to, claim, err);
	if (e == 0 && ret_bytes)
		*ret_bytes = bytes;
	return e;
}

const struct regions_heap *regions_owner(const struct regions *r, uint64_t addr)
{
	const struct regions_range *best = NULL;

	for (size_t i = 0; i < r->n_ranges; i++) {
		const struct regions_range *x = &r->ranges[i];

		if (addr >= x->start && addr < x->end && (!best || x->claim > best->claim))
			best = x;
	}
	return best ? &r->heaps[best->heap] : NULL;
}

static int by_heap_and_start(const void *a, const void *b)
{
	const struct regions_range *x = a, *y = b;

	if (x->heap != y->heap)
		return x->heap < y->heap ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

void regions_join(struct regions *r, size_t first)
{
	size_t n = first;

	if (r->n_ranges <= first)
		return;
	qsort(r->ranges + first, r->n_ranges - first, sizeof(*r->ranges), by_heap_and_start);
	for (size_t i = first; i < r->n_ranges; i++) {
		struct regions_range *last = n > first ? &r->ranges[n - 1] : NULL;
		const struct regions_range x = r->ranges[i];

		if (!last || last->heap != x.heap || last->end < x.start) {
			r->ranges[n++] = x;
			continue;
		}
		if (x.end > last->end)
			last->end = x.end;
		if (x.claim > last->claim)
			last->claim = x.claim;
	}
	r->n_ranges = n;
}

bool regions_is_anonymous(const struct maps *m, uint64_t start, uint64_t end)
{
	for (size_t i = maps_first_behind(m, start); i < m->n_items && start < end; i++) {
		const struct mapping *x = &m->items[i];

		if (x->start > start || !is_anonymous(x))
			return false;
		start = x->end;
	}
	return start >= end;
}

void regions_figure(struct regions_heap *h, const char *key, const char *title, int64_t value)
{
	if (h->n_figures < REGIONS_MAX_FIGURES)
		h->figures[h->n_figures++] = (struct regions_figure){ key, title, value };
}

int64_t regions_value(const struct regions_heap *h, const char *key)
{
	for (size_t i = 0; i < h->n_figures; i++)
		if (strcmp(h->figures[i].key, key) == 0)
			return h->figures[i].value;
	return -1;
}

int regions_add_finding(struct regions *r, const char *key, struct regions_finding **ret,
                        struct error *err)
{
	int e = array_reserve(&r->findings, &r->cap_findings, r->n_findings + 1, err);

	if (e < 0)
		return e;
	*ret = &r->findings[r->n_findings++];
	**ret = (struct regions_finding){ .bytes = -1 };
	snprintf((*ret)->key, sizeof((*ret)->key), "%s", key);
	return 0;
}

static bool is_private_data(const struct mapping *m)
{
	return (m->prot & MAPS_WRITE) && !(m->prot & MAPS_SHARED);
}

bool regions_next_data(const struct maps *m, const char *exe, size_t *pos, struct regions_data *ret)
{
	while (*pos < m->n_items) {
		const struct mapping *first = &m->items[(*pos)++];
		uint64_t end = first->end;

		if (!first->inode || !is_private_data(first))
			continue;
		/* the rest of the data segment, and .bss: no file, no name, no gap */
		while (*pos < m->n_items) {
			const struct mapping *next = &m->items[*pos];
			bool same = next->inode == first->inode &&
			            next->dev_major == first->dev_major &&
			            next->dev_minor == first->dev_minor;

			if (next->start != end || !is_private_data(next) ||
			    !(same || (!next->inode && !next->name[0])))
				break;
			end = next->end;
			(*pos)++;
		}
		*ret = (struct regions_data){ .start = first->start,
			                      .end = end,
			                      .file = first,
			                      .is_exe = strcmp(first->name, exe) == 0 };
		return true;
	}
	return false;
}
