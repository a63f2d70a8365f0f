/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_base.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/search.h"

enum { MAX_BASES = 1 << 16, MAX_PROBES = 1 << 20 };
#define ALIGN ((uint64_t)JEMALLOC_LAYOUT_BLOCK)

struct jemalloc_base *jemalloc_base_find(const struct jemalloc_heap *h, uint64_t addr)
{
	size_t at = partition_point(h->n_bases, i, h->bases[i].start + h->bases[i].size <= addr);

	return at < h->n_bases && h->bases[at].start <= addr ? &h->bases[at] : NULL;
}

static bool is_base(struct heap_memory *m, uint64_t at, uint64_t end, struct jemalloc_base *ret)
{
	uint64_t words[5];

	*ret = (struct jemalloc_base){ .start = at };
	return heap_memory_fresh(m, at, words, sizeof(words)) == 0 &&
	       jemalloc_layout_base(at, words, &ret->size, &ret->next) && ret->size <= end - at;
}

static int add_base(struct jemalloc_heap *h, const struct jemalloc_base *b, struct error *err)
{
	int r = array_reserve(&h->bases, &h->cap_bases, h->n_bases + 1, err);

	if (r == 0)
		h->bases[h->n_bases++] = *b;
	return r;
}

/* Blocks between extents: [at, end) is anonymous memory, *extent the first one
 * that ends behind @at. */
static int scan(struct heap_memory *m, struct jemalloc_heap *h, uint64_t at, uint64_t end,
                size_t *extent, unsigned *probes, struct error *err)
{
	at = (at + ALIGN - 1) / ALIGN * ALIGN;
	while (at < end && h->n_bases < MAX_BASES && (*probes)++ < MAX_PROBES) {
		struct jemalloc_base b;
		const struct jemalloc_extent *e;
		int r;

		while (*extent < h->n_extents &&
		       h->extents[*extent].start + h->extents[*extent].size <= at)
			(*extent)++;
		e = *extent < h->n_extents ? &h->extents[*extent] : NULL;
		if (e && e->start <= at) {
			at = (e->start + e->size + ALIGN - 1) / ALIGN * ALIGN;
			continue;
		}
		if (!is_base(m, at, e && e->start < end ? e->start : end, &b)) {
			at += ALIGN;
			continue;
		}
		r = add_base(h, &b, err);
		if (r < 0)
			return r;
		at += b.size;
	}
	return 0;
}

static int find_all(struct heap_memory *m, const struct maps *maps, struct jemalloc_heap *h,
                    struct error *err)
{
	unsigned probes = 0;
	size_t extent = 0;

	for (size_t i = 0; i < maps->n_items; i++) {
		const struct mapping *first = &maps->items[i];
		uint64_t end = first->end;
		int r;

		if (!heap_memory_is_anonymous(first))
			continue;
		/* a block may be in two mappings: advised, or named, in part */
		while (i + 1 < maps->n_items && maps->items[i + 1].start == end &&
		       heap_memory_is_anonymous(&maps->items[i + 1]))
			end = maps->items[++i].end;
		r = scan(m, h, first->start, end, &extent, &probes, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void know(struct jemalloc_heap *h, uint64_t addr)
{
	struct jemalloc_base *b = jemalloc_base_find(h, addr);

	if (b)
		b->known = true;
}

/* Leaves of the tree: words of the root; arenas: words of the module's data. */
static int know_pointers(struct heap_memory *m, struct jemalloc_heap *h)
{
	const struct regions_data *d = &h->tree.data;
	uint64_t words[8 * HEAP_MEMORY_PAGE / 8], pos = d->start, at;
	ssize_t n;

	while ((n = heap_memory_next(m, &pos, d->end, words, sizeof(words), &at)) > 0)
		for (ssize_t i = 0; i < n / 8; i++)
			if (words[i] && words[i] % 64 == 0)
				know(h, words[i]);
	return n;
}

/* One block of a chain makes all of it known: forwards by next, backwards by
 * going over the list until nothing changes (chains are short). */
static void spread(struct jemalloc_heap *h)
{
	for (unsigned changed = 1, rounds = 0; changed && rounds < 64; rounds++) {
		changed = 0;
		for (size_t i = 0; i < h->n_bases; i++) {
			struct jemalloc_base *b = &h->bases[i];
			struct jemalloc_base *next = b->next ? jemalloc_base_find(h, b->next)
			                                     : NULL;

			if (!next || next->known == b->known)
				continue;
			next->known = b->known = true;
			changed = 1;
		}
	}
}

int jemalloc_base_read(struct heap_memory *m, const struct maps *maps, struct jemalloc_heap *h,
                       bool alone, struct error *err)
{
	size_t n = 0;
	int r = find_all(m, maps, h, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < h->n_extents; i++)
		know(h, h->extents[i].record);
	r = know_pointers(m, h);
	if (r < 0)
		return error_sys(err, -r, "the metadata of jemalloc");
	spread(h);
	for (size_t i = 0; i < h->n_bases; i++)
		if (h->bases[i].known || alone) {
			h->base_bytes += h->bases[i].size;
			h->bases[n++] = h->bases[i];
		}
	h->n_bases = n;
	return 0;
}
