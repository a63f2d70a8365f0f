/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/v8/v8_pages.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	HEADER_WORDS = 16,
	PAGE = 4096,
	MAX_PAGES = 1 << 20,
	HEAP_WORDS = 2048, /* of a Heap, which is a part of its Isolate */
	RANGE_WORDS = 24,
};
#define PAGE_BYTES (256ull << 10) /* MemoryChunk::kAlignment */
#define MAX_PAGE   (1ull << 36)

void v8_pages_clear(struct v8_pages *p)
{
	free(p->items);
	*p = (struct v8_pages){ 0 };
}

/* size, flags, heap, area start and end, allocated, wasted, high water, space, reservation:
 * allocator, start, size. Pages of the code range have no reservation of their own. */
static bool is_page(const struct maps *m, uint64_t at, const uint64_t *w, struct v8_pages_page *ret)
{
	uint64_t size = w[0];
	bool own = w[10] == at && w[11] >= size && w[11] < size + PAGE_BYTES;
	bool borrowed = !w[10] && !w[11];

	if (size < PAGE || size > MAX_PAGE || size % PAGE || (!own && !borrowed) || w[3] <= at ||
	    w[3] >= at + 4 * PAGE || w[4] <= w[3] || w[4] > at + size || w[5] > size ||
	    w[7] > size || !w[2] || w[2] % 8 || !w[8] || w[8] % 8 ||
	    !regions_is_anonymous(m, w[2], w[2] + 8) || !regions_is_anonymous(m, w[8], w[8] + 8))
		return false;
	*ret = (struct v8_pages_page){ .start = at,
		                       .size = own ? w[11] : size,
		                       .heap = w[2],
		                       .space = w[8],
		                       .large = size > PAGE_BYTES || size % PAGE_BYTES };
	return own || size == PAGE_BYTES;
}

static struct v8_pages_heap *find_heap(struct v8_pages *p, uint64_t at)
{
	for (size_t i = 0; i < p->n_heaps; i++)
		if (p->heaps[i].at == at)
			return &p->heaps[i];
	return NULL;
}

static int add(struct v8_pages *to, const struct v8_pages_page *page, struct error *err)
{
	struct v8_pages_heap *heap = find_heap(to, page->heap);
	int r;

	if (!heap && to->n_heaps < V8_PAGES_HEAPS) {
		heap = &to->heaps[to->n_heaps++];
		*heap = (struct v8_pages_heap){ .at = page->heap };
	}
	if (!heap)
		return 0;
	r = array_reserve(&to->items, &to->cap_items, to->n_items + 1, err);
	if (r < 0)
		return r;
	heap->n_pages++;
	to->items[to->n_items++] = *page;
	return 0;
}

static int find_in(struct peek *p, const struct maps *m, const struct mapping *x,
                   struct v8_pages *to, struct error *err)
{
	uint64_t at = x->start, from, end;
	int r = 0;

	while (r == 0 && peek_present(p, at, x->end, &from, &end)) {
		uint64_t next = (from + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;

		for (at = next; at < end && r == 0 && to->n_items < MAX_PAGES;) {
			uint64_t w[HEADER_WORDS];
			struct v8_pages_page page;

			if (!peek_read(p, at, w, sizeof(w)) || !is_page(m, at, w, &page)) {
				at += PAGE_BYTES;
				continue;
			}
			r = add(to, &page, err);
			at += (page.size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
		}
		if (at < end)
			break;
		at = at > end ? at : end;
		if (at >= x->end)
			break;
	}
	return r;
}

/* Drop heaps with fewer than @least pages, and these. */
static void drop_few(struct v8_pages *p, size_t least)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_items; i++)
		if (find_heap(p, p->items[i].heap)->n_pages >= least)
			p->items[n++] = p->items[i];
	p->n_items = n;
	n = 0;
	for (size_t i = 0; i < p->n_heaps; i++)
		if (p->heaps[i].n_pages >= least)
			p->heaps[n++] = p->heaps[i];
	p->n_heaps = n;
}

int v8_pages_find(struct peek *p, const struct maps *m, size_t least, struct v8_pages *ret,
                  struct error *err)
{
	cleanup(v8_pages_clear) struct v8_pages all = { 0 };
	int r = 0;

	for (size_t i = 0; i < m->n_items && r == 0; i++) {
		const struct mapping *x = &m->items[i];

		if (!x->inode && !x->name[0] && (x->prot & MAPS_WRITE) &&
		    !(x->prot & MAPS_SHARED) && x->end - x->start >= PAGE)
			r = find_in(p, m, x, &all, err);
	}
	if (r < 0)
		return r;
	drop_few(&all, least);
	*ret = all;
	all = (struct v8_pages){ 0 };
	return 0;
}

/* {start, size} that has a page without a reservation of its own. */
static bool is_range(const struct maps *m, const struct v8_pages *pages, uint64_t start,
                     uint64_t size)
{
	const struct mapping *last = maps_find(m, start + size - 1);

	if (!start || start % PAGE_BYTES || size < 1 << 20 || size > 4ull << 30 ||
	    size % PAGE_BYTES || !maps_find(m, start) || !last || last->end != start + size)
		return false;
	for (size_t i = 0; i < pages->n_items; i++)
		if (pages->items[i].start >= start && pages->items[i].start < start + size)
			return true;
	return false;
}

/* VirtualMemoryCage: base_, size_, ..., reservation_ with the same two (src/utils/allocation.h). */
static bool in_object(struct peek *p, const struct maps *m, const struct v8_pages *pages,
                      uint64_t object, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t w[RANGE_WORDS];

	if (!object || object % 8 || !peek_read(p, object, w, sizeof(w)))
		return false;
	for (size_t i = 0; i + 3 < RANGE_WORDS; i++)
		for (size_t k = i + 2; is_range(m, pages, w[i], w[i + 1]) && k + 1 < RANGE_WORDS;
		     k++)
			if (w[k] == w[i] && w[k + 1] == w[i + 1]) {
				*ret_start = w[i];
				*ret_end = w[i] + w[i + 1];
				return true;
			}
	return false;
}

bool v8_pages_code_range(struct peek *p, const struct maps *m, const struct v8_pages *pages,
                         uint64_t heap, uint64_t *ret_start, uint64_t *ret_end)
{
	for (size_t i = 0; i < HEAP_WORDS; i++)
		if (in_object(p, m, pages, peek_word(p, heap + 8 * i), ret_start, ret_end))
			return true;
	return false;
}
