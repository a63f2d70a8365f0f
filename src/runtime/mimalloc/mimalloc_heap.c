/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/mimalloc/mimalloc_heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"

enum {
	HEADER_WORDS = 64,    /* the fields are in the first 512 bytes */
	FIRST_FIELD = 16,     /* word, at least: two masks of 8 words are before it */
	N_FIELDS = 5,         /* segment_slices, info slices, kind, entries and thread id */
	PAGE_WORDS = 12,      /* of the longest mi_page_t */
	MAX_SLICES = 1 << 20, /* of a huge segment */
	MAX_SEGMENTS = 1 << 18,
	MAX_PROBES = 1 << 20,
	MAX_DELAYED = 1 << 24,
	OWNER_WORDS = 480, /* of a mi_heap_t: its queues of pages are in them */
	QUEUE_WORDS = 3,   /* first, last, block_size */
};
#define SEGMENT ((uint64_t)MIMALLOC_HEAP_SEGMENT)
#define SLICE   ((uint64_t)MIMALLOC_HEAP_SLICE)

static const struct mimalloc_layout layouts[] = {
	{ "2.0.9", 32 << 20, 3, 4, 10, 4, 5, 6, 0, 0 },
	{ "2.0.6", 64 << 20, 4, 3, 10, 4, 5, 6, 0, 0 },
	{ "2.1.6", 32 << 20, 3, 4, 12, 3, 7, 8, 6, 1 },
};

void mimalloc_heap_clear(struct mimalloc_heap *h)
{
	free(h->segments);
	free(h->pages);
	free(h->owners);
	hash_map_clear(&h->offsets);
	hash_map_clear(&h->known);
	*h = (struct mimalloc_heap){ 0 };
}

/* ---- segments ---- */

/* Fields at word @k? Entry 0 of the slice table, right behind them, counts the
 * slices of the header itself. */
static bool are_fields(const struct mimalloc_layout *l, const uint64_t *w, unsigned k)
{
	uint64_t entries = w[k + l->entries], max = l->segment / SLICE;

	return w[k] && w[k] <= MAX_SLICES && w[k + 1] && w[k + 1] < w[k] && w[k + 1] < max &&
	       (uint32_t)w[k + 2] <= 1 && entries > w[k + 1] && entries <= max && entries <= w[k] &&
	       w[k + N_FIELDS] == w[k + 1];
}

/* The random secret XOR the segment's address: the nearest word below the fields
 * that is no pointer, flag or zero (2.2.5 has pointers between). 0: none. */
static uint64_t read_cookie(const uint64_t *w, unsigned k, uint64_t at)
{
	for (unsigned i = 1; i <= 4; i++)
		if (w[k - i] >> 48 && w[k - i] >> 48 != 0xffff)
			return w[k - i] ^ at;
	return 0;
}

static bool read_segment(struct heap_memory *m, struct mimalloc_heap *h,
                         const struct mimalloc_layout *l, uint64_t at, uint64_t end,
                         struct mimalloc_segment *ret)
{
	uint64_t w[HEADER_WORDS];
	unsigned k = h->n_segments ? h->fields / 8 : FIRST_FIELD;

	if (at % l->segment || heap_memory_fresh(m, at, w, sizeof(w)) < 0)
		return false;
	while (!are_fields(l, w, k))
		if (h->n_segments || ++k + N_FIELDS >= HEADER_WORDS)
			return false;
	*ret = (struct mimalloc_segment){ .start = at,
		                          .size = w[k] * SLICE,
		                          .cookie = read_cookie(w, k, at),
		                          .owner = w[k + l->owner],
		                          .slices = w[k + l->entries],
		                          .first = w[k + 1] };
	if (ret->size > end - at || !ret->cookie)
		return false;
	if (h->n_segments && h->segments[0].cookie != ret->cookie) {
		h->checked++; /* of another mimalloc, or none */
		h->inconsistent++;
		return false;
	}
	h->layout = l;
	h->fields = 8 * k;
	return true;
}

/* A page of a segment, of slice @k. Returns how many slices it takes, 0: torn. */
static unsigned read_page(const struct mimalloc_layout *l, const struct mimalloc_segment *s,
                          unsigned k, const uint64_t w[PAGE_WORDS], struct mimalloc_page *ret)
{
	uint32_t n = w[0];
	uint16_t capacity = w[1] >> 16, reserved = w[1] >> 32;
	bool own_start = l->start != 0, huge;

	*ret = (struct mimalloc_page){ .start = s->start + k * SLICE,
		                       .size = n * SLICE,
		                       .block_bytes = own_start ? w[5] : w[3] >> 32,
		                       .lists = { w[2], w[l->local_free], w[l->foreign] & ~3ull },
		                       .heap = w[l->heap],
		                       .first = own_start ? w[l->start] : 0,
		                       .used = own_start ? (uint16_t)w[4] : (uint32_t)w[3],
		                       .capacity = capacity };
	huge = s->size > l->segment || ret->block_bytes >= 1u << 31;
	if (!n || (n > s->slices - k && !huge) || k * SLICE + ret->size > s->size)
		return 0;
	if (ret->block_bytes <= 1 || !capacity) { /* a free span, or one that is being made */
		ret->capacity = 0;
		return n;
	}
	if (huge && !own_start)
		ret->block_bytes = ret->size;
	if (own_start && (ret->first < ret->start || ret->first - ret->start >= ret->size))
		return 0;
	if (capacity > reserved || ret->used > capacity || ret->block_bytes > ret->size ||
	    reserved * ret->block_bytes > ret->size)
		return 0;
	return n;
}

static int add_owner(struct mimalloc_heap *h, uint64_t owner, struct error *err)
{
	int r;

	if (!owner || owner % 8 || owner >> 47 || hash_map_get(&h->known, owner))
		return 0;
	r = array_reserve(&h->owners, &h->cap_owners, h->n_owners + 1, err);
	if (r == 0)
		r = hash_map_put(&h->known, owner, 1, err);
	if (r == 0)
		h->owners[h->n_owners++] = owner;
	return r;
}

static int add_page(struct mimalloc_heap *h, const struct mimalloc_page *p, struct error *err)
{
	int r = array_reserve(&h->pages, &h->cap_pages, h->n_pages + 1, err);

	if (r < 0)
		return r;
	h->pages[h->n_pages++] = *p;
	h->used += p->used * p->block_bytes;
	h->n_used += p->used;
	h->page_bytes += p->size;
	return add_owner(h, p->heap, err);
}

/* All pages; 1 the slices end where the table ends, 0 they don't, -errno. */
static int read_pages(struct heap_memory *m, struct mimalloc_heap *h,
                      const struct mimalloc_segment *s, struct error *err)
{
	uint64_t table = s->start + h->fields + N_FIELDS * 8;
	struct mimalloc_page p;
	unsigned k = s->first;

	while (k < s->slices) {
		uint64_t w[PAGE_WORDS], at = table + k * 8ull * h->layout->page_words;
		unsigned n = 0;
		int r;

		for (unsigned i = 0; !n && i < 2; i++) /* torn: look again */
			if (heap_memory_fresh(m, at, w, h->layout->page_words * 8) == 0)
				n = read_page(h->layout, s, k, w, &p);
		h->checked++;
		if (!n)
			return 0;
		r = p.capacity ? add_page(h, &p, err) : 0;
		if (r < 0)
			return r;
		k += n;
	}
	return 1;
}

static int add_segment(struct heap_memory *m, struct mimalloc_heap *h,
                       const struct mimalloc_segment *s, struct error *err)
{
	int r = array_reserve(&h->segments, &h->cap_segments, h->n_segments + 1, err);

	if (r == 0)
		r = read_pages(m, h, s, err);
	if (r < 0)
		return r;
	/* The first one must be whole to be believed; a later one has the cookie. */
	if (r == 0 && !h->n_segments) {
		mimalloc_heap_clear(h);
		return 0;
	}
	h->inconsistent += r == 0;
	h->segments[h->n_segments++] = *s;
	h->segment_bytes += s->size;
	h->abandoned += !s->owner;
	return 0;
}

struct run {
	uint64_t start, end;
};

/* The next place from @at on where a segment's header can be: programs reserve terabytes. @run: the
 * present pages that were found last; a run of many GiB is asked for once, not at each place. */
static uint64_t next_present(struct heap_memory *m, uint64_t at, uint64_t end, struct run *run)
{
	while (at < end) {
		if (at >= run->start && at < run->end)
			return at;
		if (heap_memory_present(m, at, end, &run->start, &run->end) != 1)
			break;
		at = run->start > at ? (run->start + SEGMENT - 1) / SEGMENT * SEGMENT : at;
	}
	return end;
}

static int scan(struct heap_memory *m, struct mimalloc_heap *h, uint64_t start, uint64_t end,
                unsigned *probes, struct error *err)
{
	struct run run = { 0 };
	uint64_t at = next_present(m, (start + SEGMENT - 1) / SEGMENT * SEGMENT, end, &run);

	while (at < end && h->n_segments < MAX_SEGMENTS && (*probes)++ < MAX_PROBES) {
		struct mimalloc_segment s;
		size_t n = h->n_segments;

		for (size_t l = 0; l < ARRAY_SIZE(layouts) && h->n_segments == n; l++) {
			int r = 0;

			if (n && h->layout != &layouts[l])
				continue;
			if (read_segment(m, h, &layouts[l], at, end, &s))
				r = add_segment(m, h, &s, err);
			if (r < 0)
				return r;
		}
		at += h->n_segments > n ? (s.size + SEGMENT - 1) / SEGMENT * SEGMENT : SEGMENT;
		at = next_present(m, at, end, &run);
	}
	return 0;
}

static int find_segments(struct heap_memory *m, const struct maps *maps, struct mimalloc_heap *h,
                         struct error *err)
{
	unsigned probes = 0;

	for (size_t i = 0; i < maps->n_items; i++) {
		uint64_t start = maps->items[i].start, end = maps->items[i].end;
		int r;

		if (!heap_memory_is_anonymous(&maps->items[i]))
			continue;
		/* parts may be protected (guards), or advised */
		while (i + 1 < maps->n_items && maps->items[i + 1].start == end &&
		       !maps->items[i + 1].inode && !(maps->items[i + 1].prot & MAPS_SHARED))
			end = maps->items[++i].end;
		r = scan(m, h, start, end, &probes, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- blocks ---- */

const struct mimalloc_page *mimalloc_heap_find(const struct mimalloc_heap *h, uint64_t addr)
{
	size_t at = partition_point(h->n_pages, i, h->pages[i].start + h->pages[i].size <= addr);

	return at < h->n_pages && h->pages[at].start <= addr ? &h->pages[at] : NULL;
}

/* Where blocks begin in a page is another formula in each release (2.0.9: 384
 * bytes, up to 1 KiB blocks); but each free block shows it. */
static int learn_offset(struct mimalloc_heap *h, const struct mimalloc_page *p, struct error *err)
{
	for (unsigned i = 0; i < 3 && !p->first; i++) {
		uint64_t block = p->lists[i], *known, offset;

		if (!block)
			continue;
		h->checked++;
		if (block < p->start || block - p->start >= p->size) {
			h->inconsistent++;
			continue;
		}
		offset = (block - p->start) % p->block_bytes;
		known = hash_map_get(&h->offsets, p->block_bytes);
		if (known) {
			h->inconsistent += *known != offset;
		} else {
			int r = hash_map_put(&h->offsets, p->block_bytes, offset, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

uint64_t mimalloc_heap_first(const struct mimalloc_heap *h, const struct mimalloc_page *p)
{
	const uint64_t *offset = hash_map_get(&h->offsets, p->block_bytes);

	if (p->first)
		return p->first;
	if (offset)
		return p->start + *offset;
	return p->start + (p->block_bytes <= 1024 ? 384 % p->block_bytes : 0);
}

/* Does a list come back to where it was (Brent)? Lists of a hostile target may. */
struct cycle {
	uint64_t mark;
	uint32_t steps, power;
};

static bool cycle_closes(struct cycle *c, uint64_t at)
{
	if (at == c->mark)
		return true;
	if (c->steps++ == c->power) {
		c->mark = at;
		c->power = 2 * c->power + 1;
		c->steps = 0;
	}
	return false;
}

/* Nodes of a list of blocks of one page. */
static uint32_t list_length(struct heap_memory *m, struct mimalloc_heap *h,
                            const struct mimalloc_page *p, uint64_t at)
{
	uint64_t first = mimalloc_heap_first(h, p);
	struct cycle cycle = { 0 };
	uint32_t n = 0;

	for (; at && n < p->used; n++, at = heap_memory_word(m, at)) {
		h->checked++;
		if (at < first || at - p->start >= p->size || (at - first) % p->block_bytes ||
		    cycle_closes(&cycle, at)) {
			h->inconsistent++;
			break;
		}
	}
	return n;
}

/* The word behind a mi_heap_t's queues of pages: thread_delayed_free. The queues
 * are known by their block sizes: 8, 8, 16, 24, ... and at the end, for huge and for
 * full pages, the largest ordinary size plus one and two words. 0: not found. */
static uint64_t find_delayed(struct heap_memory *m, uint64_t owner)
{
	uint64_t w[OWNER_WORDS];
	const unsigned q = QUEUE_WORDS;

	if (heap_memory_read(m, owner, w, sizeof(w)) < 0)
		return 0;
	for (unsigned i = 2; i + 3 * q < OWNER_WORDS; i++) {
		if (w[i] != 8 || w[i + q] != 8 || w[i + 2 * q] != 16 || w[i + 3 * q] != 24)
			continue;
		for (unsigned k = i + 4 * q; k + q + 1 < OWNER_WORDS; k += q)
			if (w[k] > 4096 && w[k] % 4096 == 8 && w[k + q] == w[k] + 8)
				return owner + 8 * (k + q + 1);
	}
	return 0;
}

/* The list jumps from page to page: a word each, not a piece of memory. */
static uint64_t next_delayed(struct heap_memory *m, uint64_t at)
{
	uint64_t next;

	return heap_memory_fresh(m, at, &next, sizeof(next)) == 0 ? next : 0;
}

/* Blocks of full pages that other threads have freed. With @wanted, only: is it
 * among them? */
static bool walk_delayed(struct heap_memory *m, struct mimalloc_heap *h, uint64_t owner,
                         uint64_t wanted)
{
	unsigned word = h->layout->delayed;
	uint64_t at = word ? owner + 8 * word : find_delayed(m, owner);
	struct cycle cycle = { 0 };
	unsigned n = 0;

	for (at = at ? heap_memory_word(m, at) : 0; at && n < MAX_DELAYED;
	     n++, at = next_delayed(m, at)) {
		const struct mimalloc_page *p = mimalloc_heap_find(h, at);
		bool closes = cycle_closes(&cycle, at);

		if (wanted) {
			if (at == wanted || closes)
				return at == wanted;
			continue;
		}
		h->checked++;
		if (!p || closes || h->n_foreign >= h->n_used) {
			h->inconsistent++;
			break;
		}
		h->n_foreign++;
		h->pages[p - h->pages].foreign++;
		h->foreign_free += p->block_bytes;
	}
	return false;
}

int mimalloc_heap_read(struct heap_memory *m, const struct maps *maps, struct mimalloc_heap *h,
                       struct error *err)
{
	int r = find_segments(m, maps, h, err);

	for (size_t i = 0; r == 0 && i < h->n_pages; i++)
		r = learn_offset(h, &h->pages[i], err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < h->n_pages; i++) {
		const struct mimalloc_page *p = &h->pages[i];
		uint32_t n = list_length(m, h, p, p->lists[2]);

		h->n_foreign += n;
		h->pages[i].foreign += n;
		h->foreign_free += n * p->block_bytes;
	}
	for (size_t i = 0; i < h->n_owners; i++)
		walk_delayed(m, h, h->owners[i], 0);
	return m->failed ? error_sys(err, -m->failed, "the segments of mimalloc") : 0;
}

bool mimalloc_heap_is_free(struct heap_memory *m, const struct mimalloc_heap *h,
                           const struct mimalloc_page *p, uint64_t start)
{
	if (start < p->start || (start - p->start) / p->block_bytes >= p->capacity)
		return true; /* never given out */
	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = p->lists[i];

		for (uint32_t n = 0; at && n <= p->capacity; n++, at = heap_memory_word(m, at))
			if (at == start)
				return true;
	}
	for (size_t i = 0; i < h->n_owners; i++)
		if (walk_delayed(m, (struct mimalloc_heap *)h, h->owners[i], start))
			return true;
	return false;
}
