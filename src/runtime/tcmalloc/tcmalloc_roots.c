/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/tcmalloc/tcmalloc_roots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAGE_SHIFT = 13,
	LEAF_LG = 18,
	ROOT_BYTES = 8 << 17,
	LEAF_BYTES = 8 << LEAF_LG,
	SPAN_WORDS = 6,      /* start, length, next, prev, objects, flags */
	CENTRAL_WORDS = 152, /* from one CentralFreeListPadded to the next */
	MAX_CLASS = 256 * 1024,
	VOTES = 32,
	ENOUGH = 2,
};
#define MAX_DATA (64ull << 20)

void tcmalloc_roots_clear(struct tcmalloc_roots *r)
{
	free(r->words);
	*r = (struct tcmalloc_roots){ 0 };
}

bool tcmalloc_roots_span(struct heap_memory *m, uint64_t at, bool fresh, struct tcmalloc_span *ret)
{
	uint64_t w[SPAN_WORDS];
	int r;

	if (at % 8 || at < HEAP_MEMORY_PAGE || at >> 47)
		return false;
	r = fresh ? heap_memory_fresh(m, at, w, sizeof(w)) : heap_memory_read(m, at, w, sizeof(w));
	if (r < 0 || !w[0] || !w[1] || w[0] >> 34 || w[1] >> 34 ||
	    (w[5] >> 24 & 3) > TCMALLOC_RETURNED)
		return false;
	*ret = (struct tcmalloc_span){
		.start = w[0] << PAGE_SHIFT,
		.size = w[1] << PAGE_SHIFT,
		.objects = w[4],
		.record = at,
		.n_used = w[5] & 0xffff,
		.size_class = w[5] >> 16 & 0xff,
		.place = w[5] >> 24 & 3,
	};
	return true;
}

static int copy_data(struct heap_memory *m, const struct regions_data *d,
                     struct tcmalloc_roots *ret)
{
	uint64_t pos = d->start, at;
	uint8_t *piece;
	ssize_t n;

	ret->start = d->start;
	ret->n = (d->end - d->start) / 8;
	ret->words = calloc(ret->n, 8);
	piece = malloc(HEAP_MEMORY_CHUNK);
	if (!ret->words || !piece) {
		free(piece);
		return -ENOMEM;
	}
	while ((n = heap_memory_next(m, &pos, d->end, piece, HEAP_MEMORY_CHUNK, &at)) > 0)
		memcpy((uint8_t *)ret->words + (at - d->start), piece, n);
	free(piece);
	return n;
}

/* class_to_size_: 0, 8, 16, then upwards to 256 KiB; num_objects_to_move_ is the
 * table before it (SizeMap, common.h). */
static bool find_classes(const struct tcmalloc_roots *r, struct tcmalloc_heap *h)
{
	const int32_t *w = (const int32_t *)r->words;
	const size_t n = TCMALLOC_HEAP_CLASSES;

	for (size_t i = n; i + n <= 2 * r->n; i++) {
		unsigned c = 2;

		if (w[i] || w[i + 1] != 8 || w[i + 2] != 16)
			continue;
		while (c + 1 < n && w[i + c + 1] > w[i + c] && w[i + c + 1] <= MAX_CLASS)
			c++;
		if (w[i + c] != MAX_CLASS || c < 20)
			continue;
		memcpy(h->class_bytes, w + i, sizeof(h->class_bytes));
		memcpy(h->class_moves, w + i - n, sizeof(h->class_moves));
		h->n_classes = c + 1;
		for (unsigned k = 1; k < h->n_classes; k++)
			if (h->class_moves[k] < 1 || h->class_moves[k] > 1 << 16)
				return false;
		return true;
	}
	return false;
}

/* size_class_ of each central list is its number. */
static uint64_t find_central(const struct tcmalloc_roots *r, unsigned n_classes)
{
	for (size_t i = CENTRAL_WORDS + 1; i + (size_t)CENTRAL_WORDS * n_classes < r->n; i++) {
		unsigned c = 1;

		while (c < n_classes && r->words[i + (size_t)CENTRAL_WORDS * (c - 1)] == c)
			c++;
		if (c == n_classes)
			return r->start + 8 * (i - 1 - CENTRAL_WORDS);
	}
	return 0;
}

struct votes {
	uint64_t index;
	unsigned yes, no;
};

/* The leaf at @leaf: spans that say of themselves what the leaf says. */
static int vote_leaf(struct heap_memory *m, uint64_t leaf, struct votes *v)
{
	const uint64_t page = HEAP_MEMORY_PAGE, end = leaf + LEAF_BYTES;
	uint64_t words[HEAP_MEMORY_PAGE / 8], pos = leaf / page * page, at, skip = 0;
	ssize_t n = 0;

	while (v->yes < VOTES && v->no < 8 &&
	       (n = heap_memory_next(m, &pos, (end + page - 1) / page * page, words, sizeof(words),
	                             &at)) > 0) {
		for (ssize_t i = 0; i < n / 8 && v->yes < VOTES && v->no < 8; i++) {
			uint64_t place = at + 8 * i, k = (place - leaf) / 8;
			struct tcmalloc_span s;

			if (!words[i] || place < leaf || place >= end || k < skip)
				continue;
			if (!tcmalloc_roots_span(m, words[i], false, &s) ||
			    (s.start >> PAGE_SHIFT & ((1 << LEAF_LG) - 1)) != k ||
			    (v->yes && s.start >> (PAGE_SHIFT + LEAF_LG) != v->index)) {
				v->no++;
				continue;
			}
			v->index = s.start >> (PAGE_SHIFT + LEAF_LG);
			v->yes++;
			skip = k + (s.size >> PAGE_SHIFT);
		}
	}
	return n < 0 ? n : 0;
}

static int find_root(struct heap_memory *m, const struct maps *maps, const struct tcmalloc_roots *t,
                     struct tcmalloc_heap *h)
{
	for (size_t i = 0; i < t->n; i++) {
		uint64_t leaf = t->words[i];
		struct votes v = { 0 };
		int r;

		if (!leaf || leaf % 8 || leaf >> 47 || (i && leaf == t->words[i - 1]))
			continue;
		if (!heap_memory_covers(maps, leaf, LEAF_BYTES))
			continue;
		r = vote_leaf(m, leaf, &v);
		if (r < 0)
			return r;
		if (v.yes < ENOUGH || v.yes < 4 * v.no || i < v.index ||
		    t->n - (i - v.index) < ROOT_BYTES / 8)
			continue;
		h->root = t->start + 8 * (i - v.index);
		return 1;
	}
	return 0;
}

int tcmalloc_roots_find(struct heap_memory *m, const struct maps *maps, struct tcmalloc_heap *h,
                        struct tcmalloc_roots *ret)
{
	uint64_t bytes = h->data.end - h->data.start;
	int r;

	if (bytes < ROOT_BYTES || bytes > MAX_DATA)
		return 0;
	r = copy_data(m, &h->data, ret);
	if (r < 0)
		return r;
	if (!find_classes(ret, h))
		return 0;
	h->central = find_central(ret, h->n_classes);
	return find_root(m, maps, ret, h);
}
