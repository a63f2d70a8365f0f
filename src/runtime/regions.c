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
