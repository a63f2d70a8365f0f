/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/tcmalloc/tcmalloc_heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"
#include "runtime/tcmalloc/tcmalloc_roots.h"

enum {
	LEAF_BYTES = 8 << 18,
	ROOT_ENTRIES = 1 << 17,
	LEAF_SHIFT = 31, /* address bits below an entry of the root */
	MAX_SPANS = 1 << 26,
	MAX_CACHES = 1 << 14,
	MAX_CANDIDATES = 1 << 16, /* pointers into metadata that may lead to a cache */
	CACHE_LIST = 32,          /* bytes of a FreeList: list, length (8), size_ (24) */
	CACHE_SIZE = 4096,        /* ThreadCache::size_, behind the lists */
	CACHE_TAIL = 64,          /* to its end (4160 bytes); next_ and prev_ are in it */
	CENTRAL = 1216,           /* CentralFreeListPadded: size_class_ 8, slots 128, used 1152 */
	CENTRAL_SLOTS = 128,
	CENTRAL_USED = 1152,
	MAX_SLOTS = 64,
	TRIES = 3,
};

void tcmalloc_heap_clear(struct tcmalloc_heap *h)
{
	free(h->spans);
	free(h->caches);
	free(h->leaves);
	*h = (struct tcmalloc_heap){ 0 };
}

/* ---- spans ---- */

static uint64_t objects_of(const struct tcmalloc_heap *h, const struct tcmalloc_span *s)
{
	return s->size / h->class_bytes[s->size_class];
}

static bool is_sound(const struct tcmalloc_heap *h, const struct tcmalloc_span *s, uint64_t addr)
{
	if (s->start != addr || s->start + s->size > 1ull << 47)
		return false;
	if (s->place != TCMALLOC_IN_USE || !s->size_class)
		return true;
	return s->size_class < h->n_classes && s->n_used <= objects_of(h, s);
}

static void sum(struct tcmalloc_heap *h, const struct tcmalloc_span *s)
{
	uint64_t bytes, n;

	h->heap += s->size;
	if (s->place == TCMALLOC_FREE) {
		h->free += s->size;
	} else if (s->place == TCMALLOC_RETURNED) {
		h->returned += s->size;
	} else if (!s->size_class) {
		h->large += s->size;
		h->n_large++;
	} else {
		bytes = h->class_bytes[s->size_class];
		n = objects_of(h, s);
		h->small += s->n_used * bytes;
		h->central_free += (n - s->n_used) * bytes;
		h->tails += s->size - n * bytes;
	}
}

static int add_span(struct tcmalloc_heap *h, const struct tcmalloc_span *s, struct error *err)
{
	int r;

	if (h->n_spans == MAX_SPANS)
		return 0;
	r = array_reserve(&h->spans, &h->cap_spans, h->n_spans + 1, err);
	if (r < 0)
		return r;
	h->spans[h->n_spans++] = *s;
	sum(h, s);
	return 0;
}

/* The span at an entry of a leaf; on a running target, look again. */
static bool look(struct heap_memory *m, const struct tcmalloc_heap *h, uint64_t slot,
                 uint64_t entry, uint64_t addr, struct tcmalloc_span *ret)
{
	for (unsigned i = 0; i < TRIES; i++) {
		if (i && heap_memory_fresh(m, slot, &entry, sizeof(entry)) < 0)
			return false;
		if (tcmalloc_roots_span(m, entry, i, ret) && is_sound(h, ret, addr))
			return true;
	}
	return false;
}

static int walk_leaf(struct heap_memory *m, struct tcmalloc_heap *h, uint64_t index, uint64_t leaf,
                     uint64_t *skip, struct error *err)
{
	const uint64_t page = HEAP_MEMORY_PAGE, end = leaf + LEAF_BYTES;
	uint64_t words[HEAP_MEMORY_PAGE], pos = leaf / page * page, at;
	ssize_t n;

	while ((n = heap_memory_next(m, &pos, (end + page - 1) / page * page, words, sizeof(words),
	                             &at)) > 0) {
		for (ssize_t i = 0; i < n / 8; i++) {
			uint64_t slot = at + 8 * i, addr;
			struct tcmalloc_span s;
			int r;

			if (!words[i] || slot < leaf || slot >= end)
				continue;
			addr = (index << LEAF_SHIFT) + (slot - leaf) / 8 * TCMALLOC_HEAP_PAGE;
			if (addr < *skip)
				continue;
			h->checked++;
			if (!look(m, h, slot, words[i], addr, &s)) {
				h->inconsistent++;
				continue;
			}
			r = add_span(h, &s, err);
			if (r < 0)
				return r;
			*skip = s.start + s.size;
		}
	}
	return n < 0 ? error_sys(err, -n, "the page map of tcmalloc") : 0;
}

static int add_leaf(struct tcmalloc_heap *h, uint64_t leaf, struct error *err)
{
	int r = array_reserve(&h->leaves, &h->cap_leaves, h->n_leaves + 1, err);

	if (r == 0)
		h->leaves[h->n_leaves++] = leaf;
	return r;
}

static int walk_spans(struct heap_memory *m, const struct maps *maps,
                      const struct tcmalloc_roots *t, struct tcmalloc_heap *h, struct error *err)
{
	const uint64_t *root = t->words + (h->root - t->start) / 8;
	struct hash_map seen = { 0 }; /* in steps of a leaf's size: leaves are disjoint */
	uint64_t skip = 0;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < ROOT_ENTRIES; i++) {
		if (!root[i])
			continue;
		if (root[i] % 8 || !heap_memory_covers(maps, root[i], LEAF_BYTES) ||
		    hash_map_get(&seen, root[i] / LEAF_BYTES)) {
			h->checked++;
			h->inconsistent++;
			continue;
		}
		r = hash_map_put(&seen, root[i] / LEAF_BYTES, 1, err);
		if (r == 0)
			r = add_leaf(h, root[i], err);
		if (r == 0)
			r = walk_leaf(m, h, i, root[i], &skip, err);
	}
	hash_map_clear(&seen);
	return r;
}

const struct tcmalloc_span *tcmalloc_heap_find(const struct tcmalloc_heap *h, uint64_t addr)
{
	size_t at = partition_point(h->n_spans, i, h->spans[i].start + h->spans[i].size <= addr);

	return at < h->n_spans && h->spans[at].start <= addr ? &h->spans[at] : NULL;
}

/* ---- thread caches: one leads to the others (next_, prev_) ---- */

static bool is_cache(struct heap_memory *m, const struct tcmalloc_heap *h, uint64_t at)
{
	int32_t bytes;

	if (!at || at % 8 || at >> 47)
		return false;
	for (unsigned c = 1; c < h->n_classes; c++)
		if (heap_memory_read(m, at + c * CACHE_LIST + 24, &bytes, sizeof(bytes)) < 0 ||
		    bytes != h->class_bytes[c])
			return false;
	return true;
}

static int take_cache(struct heap_memory *m, struct tcmalloc_heap *h, uint64_t at,
                      struct error *err)
{
	int32_t size = 0;
	int r;

	for (size_t i = 0; i < h->n_caches; i++)
		if (h->caches[i] == at)
			return 0;
	r = array_reserve(&h->caches, &h->cap_caches, h->n_caches + 1, err);
	if (r < 0)
		return r;
	h->caches[h->n_caches++] = at;
	h->checked++;
	if (heap_memory_fresh(m, at + CACHE_SIZE, &size, sizeof(size)) < 0 || size < 0)
		h->inconsistent++;
	else
		h->thread += size;
	return 0;
}

static bool points_to(struct heap_memory *m, uint64_t cache, uint64_t other)
{
	for (unsigned k = 1; k < CACHE_TAIL / 8; k++)
		if (heap_memory_word(m, cache + CACHE_SIZE + 8 * k) == other)
			return true;
	return false;
}

/* Caches of ended threads keep their pointers, but nobody points back. */
static void drop_ended(struct heap_memory *m, struct tcmalloc_heap *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n_caches; i++) {
		bool linked = true;

		for (unsigned k = 1; linked && k < CACHE_TAIL / 8; k++) {
			uint64_t other = heap_memory_word(m, h->caches[i] + CACHE_SIZE + 8 * k);

			linked = !is_cache(m, h, other) || points_to(m, other, h->caches[i]);
		}
		if (linked)
			h->caches[n++] = h->caches[i];
	}
	h->n_caches = n;
}

static int find_caches(struct heap_memory *m, const struct maps *maps,
                       const struct tcmalloc_roots *t, struct tcmalloc_heap *h, struct error *err)
{
	uint64_t tail[CACHE_TAIL / 8];
	unsigned tries = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->n && !h->n_caches; i++)
		if (t->words[i] && !(t->words[i] >> 47) && !tcmalloc_heap_find(h, t->words[i]) &&
		    heap_memory_is_anonymous(maps_find(maps, t->words[i])) &&
		    tries++ < MAX_CANDIDATES && is_cache(m, h, t->words[i]))
			r = take_cache(m, h, t->words[i], err);
	for (size_t i = 0; r == 0 && i < h->n_caches && h->n_caches < MAX_CACHES; i++) {
		if (heap_memory_read(m, h->caches[i] + CACHE_SIZE, tail, sizeof(tail)) < 0)
			continue;
		for (size_t k = 1; r == 0 && k < CACHE_TAIL / 8; k++)
			if (is_cache(m, h, tail[k]))
				r = take_cache(m, h, tail[k], err);
	}
	drop_ended(m, h);
	return r;
}

/* ---- transfer caches: slots of whole batches ---- */

static void sum_transfer(struct heap_memory *m, struct tcmalloc_heap *h)
{
	for (unsigned c = 1; h->central && c < h->n_classes; c++) {
		int32_t used;

		h->checked++;
		if (heap_memory_fresh(m, h->central + CENTRAL * c + CENTRAL_USED, &used,
		                      sizeof(used)) < 0 ||
		    used < 0 || used > MAX_SLOTS) {
			h->inconsistent++;
			continue;
		}
		h->transfer += (uint64_t)used * h->class_moves[c] * h->class_bytes[c];
	}
}

int tcmalloc_heap_read(struct heap_memory *m, const struct maps *maps, const struct regions_data *d,
                       struct tcmalloc_heap *ret, struct error *err)
{
	cleanup(tcmalloc_roots_clear) struct tcmalloc_roots roots = { 0 };
	cleanup(tcmalloc_heap_clear) struct tcmalloc_heap h = { .data = *d };
	int r = tcmalloc_roots_find(m, maps, &h, &roots);

	if (r <= 0)
		return r < 0 ? error_sys(err, -r, "the data of a module") : 0;
	r = walk_spans(m, maps, &roots, &h, err);
	if (r == 0)
		r = find_caches(m, maps, &roots, &h, err);
	if (r < 0)
		return r;
	sum_transfer(m, &h);
	if (!h.n_spans || h.inconsistent > h.checked / 2)
		return 0;
	*ret = h;
	h = (struct tcmalloc_heap){ 0 };
	return 1;
}

/* ---- lists, for one object ---- */

static bool is_on_list(struct heap_memory *m, uint64_t at, uint64_t n, uint64_t object)
{
	for (; at && n; n--, at = heap_memory_word(m, at))
		if (at == object)
			return true;
	return false;
}

static bool in_transfer(struct heap_memory *m, const struct tcmalloc_heap *h, unsigned c,
                        uint64_t object)
{
	uint64_t list = h->central + CENTRAL * c;
	int32_t used;

	if (!h->central || heap_memory_read(m, list + CENTRAL_USED, &used, sizeof(used)) < 0)
		return false;
	for (int32_t i = 0; i < used && i < MAX_SLOTS; i++)
		if (is_on_list(m, heap_memory_word(m, list + CENTRAL_SLOTS + 16 * i),
		               h->class_moves[c], object))
			return true;
	return false;
}

int tcmalloc_heap_listed(struct heap_memory *m, const struct tcmalloc_heap *h,
                         const struct tcmalloc_span *s, uint64_t start)
{
	unsigned c = s->size_class;

	if (is_on_list(m, s->objects, objects_of(h, s), start) || in_transfer(m, h, c, start))
		return 1;
	for (size_t i = 0; i < h->n_caches; i++) {
		uint64_t list = h->caches[i] + c * CACHE_LIST;
		uint32_t n;

		if (heap_memory_read(m, list + 8, &n, sizeof(n)) == 0 &&
		    is_on_list(m, heap_memory_word(m, list), n < 1 << 20 ? n : 1 << 20, start))
			return 2;
	}
	return 0;
}
