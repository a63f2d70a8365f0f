/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"

enum {
	ARENA_BYTES = 24 * 1024, /* the ring's head is behind arena_stats_t, about 10 KiB */
	MAX_ARENAS = 3 * 4096,   /* words that point to one */
	MAX_CACHES = 1 << 17,
	MAX_BINS = 73, /* TCACHE_NBINS_MAX */
	BIN_WORDS = 3,
	TLS_BYTES = 1 << 20, /* below the thread pointer */
};

struct search {
	struct heap_memory *m;
	const struct maps *maps;
	struct jemalloc_heap *h;
	void (*each)(uint64_t addr, void *arg);
	void *arg;
	struct error *err;
	struct hash_map seen; /* arenas, and nodes of rings */
	unsigned n_arenas, n_caches;
};

/* Items of a bin: [*ret_first, + 8 * n), newest first; -1: no bin. */
static int bin_items(const struct jemalloc_layout *l, const uint64_t words[BIN_WORDS],
                     uint64_t *ret_first)
{
	uint64_t head = words[0];

	if (l->head_is_pointer) { /* stack_head, tstats, low bits: water, full, empty */
		uint16_t full = words[2] >> 16, empty = words[2] >> 32;
		uint16_t room = empty - full, used = empty - (uint16_t)head;

		if (!head || head % 8 || head >> 47 || !room || room % 8 || used > room)
			return -1;
		*ret_first = head;
		return used / 8;
	}
	/* low_water and ncached (32 bits each), tstats, avail: items are below it */
	if ((int32_t)head < -1 || head >> 32 > 8192 || !words[2] || words[2] % 8 ||
	    words[2] >> 47 || words[2] < (head >> 32) * 8)
		return -1;
	*ret_first = words[2] - 8 * (head >> 32);
	return head >> 32;
}

/* Is the cached item a region that its slab has given out, of class @c? */
static bool is_given_out(struct search *s, uint64_t item, unsigned c)
{
	const struct jemalloc_extent *e = jemalloc_heap_find(s->h, item);
	uint64_t bytes = jemalloc_layout_class_bytes(c), index, word;

	if (!e || e->state != JEMALLOC_ACTIVE || e->size_class != c)
		return false;
	if (!e->slab)
		return true;
	if ((item - e->start) % bytes)
		return false;
	index = (item - e->start) / bytes;
	if (index >= 512 || (index + 1) * bytes > e->size ||
	    heap_memory_read(s->m, e->record + 64 + index / 64 * 8, &word, sizeof(word)) < 0)
		return false;
	return !(word >> index % 64 & 1);
}

static void take_items(struct search *s, unsigned c, uint64_t first, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t item = heap_memory_word(s->m, first + 8 * i);

		s->h->checked++;
		if (!is_given_out(s, item, c))
			s->h->inconsistent++;
		else if (s->each)
			s->each(item, s->arg);
	}
	s->h->cached_items += n;
	s->h->cached_bytes += n * jemalloc_layout_class_bytes(c);
}

/* @n_classes bins at @bins, from class @c on; with @all they must be bins, else
 * they end with the first that is none. How many. */
static unsigned take_bins(struct search *s, uint64_t bins, unsigned c, unsigned n_classes, bool all)
{
	uint64_t words[MAX_BINS][BIN_WORDS], first[MAX_BINS];
	unsigned n = 0;
	int items[MAX_BINS];

	memset(words, 0, sizeof(words));
	if (heap_memory_read(s->m, bins, words, n_classes * sizeof(words[0])) < 0 && all)
		return 0;
	while (n < n_classes && (items[n] = bin_items(s->h->tree.layout, words[n], &first[n])) >= 0)
		n++;
	if (all && n < JEMALLOC_LAYOUT_SMALL)
		return 0;
	for (unsigned i = 0; i < n; i++)
		take_items(s, c + i, first[i], items[i]);
	return n;
}

/* A node of a ring of caches: link (next, prev), then bins (5.3), or small and
 * large bins (5.2). */
static bool take_node(struct search *s, const uint64_t node[4])
{
	const unsigned small = JEMALLOC_LAYOUT_SMALL;
	unsigned n;

	if (!node[2] || node[2] % 8 || node[2] >> 47)
		return false;
	if (s->h->tree.layout->head_is_pointer) {
		/* the large ones may lie on a page that is not there */
		n = take_bins(s, node[2], 0, small, true);
		if (n)
			take_bins(s, node[2] + n * BIN_WORDS * 8, n, MAX_BINS - n, false);
	} else {
		n = take_bins(s, node[2], 0, small, true);
		if (n && node[3] && node[3] % 8 == 0)
			take_bins(s, node[3], n, MAX_BINS - n, false);
	}
	s->h->caches += n > 0;
	return n > 0;
}

/* Is @addr a node of a ring, outside the metadata? Each is looked at once. */
static bool read_node(struct search *s, uint64_t addr, uint64_t node[4])
{
	return addr % 8 == 0 && heap_memory_read(s->m, addr, node, 4 * sizeof(*node)) == 0 &&
	       node[0] && node[0] % 8 == 0 && heap_memory_word(s->m, node[0] + 8) == addr;
}

static int take_ring(struct search *s, uint64_t first)
{
	uint64_t node[4], at = first;

	do {
		if (!read_node(s, at, node)) {
			s->h->checked++;
			s->h->inconsistent++;
			return 0;
		}
		if (hash_map_get(&s->seen, at) || s->n_caches++ == MAX_CACHES)
			return 0;
		if (hash_map_put(&s->seen, at, 1, s->err) < 0)
			return -ENOMEM;
		if (!take_node(s, node))
			return 0; /* another kind of ring */
		at = node[0];
	} while (at != first);
	return 0;
}

/* All words of an arena_t that could be the head of a ring. */
static int look_at_arena(struct search *s, uint64_t arena)
{
	uint64_t words[512], node[4];

	if (hash_map_get(&s->seen, arena) || s->n_arenas++ >= MAX_ARENAS)
		return 0;
	if (hash_map_put(&s->seen, arena, 1, s->err) < 0)
		return -ENOMEM;
	for (uint64_t at = arena; at < arena + ARENA_BYTES; at += sizeof(words)) {
		if (heap_memory_read(s->m, at, words, sizeof(words)) < 0)
			continue;
		for (size_t i = 0; i < 512; i++) {
			uint64_t w = words[i];
			const struct mapping *map;
			int r;

			if (!w || w % 8 || w >> 47 || jemalloc_base_find(s->h, w))
				continue;
			map = maps_find(s->maps, w);
			if (!map || !(map->prot & MAPS_WRITE) || (map->prot & MAPS_SHARED) ||
			    hash_map_get(&s->seen, w) || !read_node(s, w, node))
				continue;
			r = take_ring(s, w);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Pointers to arenas: words of the module's data, but the tree, that lead into
 * metadata. */
static int look_at_data(struct search *s)
{
	const struct jemalloc_rtree *t = &s->h->tree;
	uint64_t words[8 * 512], pos = t->data.start, at;
	ssize_t n;

	while ((n = heap_memory_next(s->m, &pos, t->data.end, words, sizeof(words), &at)) > 0)
		for (ssize_t i = 0; i < n / 8; i++) {
			uint64_t place = at + 8 * i;
			int r;

			if (!words[i] || words[i] % 64 ||
			    (place >= t->root && place - t->root < JEMALLOC_LAYOUT_TABLE) ||
			    !jemalloc_base_find(s->h, words[i]))
				continue;
			r = look_at_arena(s, words[i]);
			if (r < 0)
				return r;
		}
	return n;
}

/* ---- without rings: static TLS, which lies below the thread pointer ---- */

/* Stacks of the bins follow each other, as cache_bin_init() lays them out; what they
 * hold is this jemalloc's. */
static bool is_cache(struct search *s, const uint64_t (*bins)[BIN_WORDS])
{
	const struct jemalloc_layout *l = s->h->tree.layout;
	unsigned items = 0, good = 0;

	for (unsigned c = 0; c < JEMALLOC_LAYOUT_SMALL; c++) {
		uint64_t first;

		if (bin_items(l, bins[c], &first) < 0 ||
		    (c && (uint16_t)(bins[c][2] >> 16) != (uint16_t)(bins[c - 1][2] >> 32)))
			return false;
	}
	for (unsigned c = 0; c < JEMALLOC_LAYOUT_SMALL; c++) {
		uint64_t first;
		int n = bin_items(l, bins[c], &first);

		items += n;
		for (int i = 0; i < n; i++)
			good += is_given_out(s, heap_memory_word(s->m, first + 8 * i), c);
	}
	return items && good >= items - items / 8;
}

static int look_below(struct search *s, uint64_t tcb)
{
	const uint64_t page = HEAP_MEMORY_PAGE, max = TLS_BYTES;
	const struct mapping *map = maps_find(s->maps, tcb);
	uint64_t end = (tcb + page - 1) / page * page, start, pos, at;
	cleanup_free uint64_t *words = NULL;
	cleanup_free uint8_t *piece = NULL;
	ssize_t n;

	if (!heap_memory_is_anonymous(map))
		return 0;
	start = end - map->start > max ? end - max : map->start;
	words = calloc((end - start) / 8, 8);
	if (!words)
		return -ENOMEM;
	piece = malloc(HEAP_MEMORY_CHUNK);
	if (!piece)
		return -ENOMEM;
	pos = start;
	while ((n = heap_memory_next(s->m, &pos, end, piece, HEAP_MEMORY_CHUNK, &at)) > 0)
		memcpy((uint8_t *)words + (at - start), piece, n);
	for (size_t i = 0; n == 0 && i + BIN_WORDS * JEMALLOC_LAYOUT_SMALL <= (end - start) / 8;
	     i++) {
		if (!is_cache(s, (const void *)(words + i)))
			continue;
		at = start + 8 * i;
		n = take_bins(s, at, 0, JEMALLOC_LAYOUT_SMALL, true);
		take_bins(s, at + n * BIN_WORDS * 8, n, MAX_BINS - n, false);
		s->h->caches++;
		return 0;
	}
	return n;
}

static int look_at_threads(struct search *s, const struct threads *threads)
{
	int r = 0;

	for (size_t i = 0; threads && r == 0 && i < threads->n_items; i++)
		if (threads->items[i].tcb)
			r = look_below(s, threads->items[i].tcb);
	return r;
}

int jemalloc_cache_read(struct heap_memory *m, const struct regions_input *in,
                        struct jemalloc_heap *h, void (*each)(uint64_t addr, void *arg), void *arg,
                        struct error *err)
{
	struct search s = {
		.m = m, .maps = in->maps, .h = h, .each = each, .arg = arg, .err = err
	};
	int r = look_at_data(&s);

	if (r == 0 && !h->caches && h->tree.layout->head_is_pointer)
		r = look_at_threads(&s, in->threads);
	hash_map_clear(&s.seen);
	if (r == -ENOMEM)
		return error_oom(err);
	return r < 0 ? error_sys(err, -r, "the thread caches of jemalloc") : 0;
}
