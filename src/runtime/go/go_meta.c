/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_meta.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/go/go_chain.h"

enum {
	PAGE = 4096,
	MAP_PIECE = 1 << 18,       /* of the map of arenas, read at once */
	AT_ONCE = 8,               /* words of it */
	LEVELS = 5,                /* mpagealloc_64bit.go: summaryLevels */
	MHEAP_BYTES = 80 * 1024,   /* more than what is before allspans in mheap_ */
	CHUNK_MAPS = 1 << 13,      /* pallocChunksL1Bits */
	CHUNK_MAP_BYTES = 1 << 20, /* 8192 x pallocData */
	PERSISTENT = 256 * 1024,   /* malloc.go: persistentChunkSize */
	MAX_PERSISTENT = 1 << 16,
	BUCKETS = 179999, /* mprof.go: buckHashSize */
};

struct work {
	struct peek *peek;
	const struct maps *maps;
	const struct go_heap *heap;
	const struct go_spans *spans;
	unsigned minor;
	struct regions *to;
	uint32_t index;
	struct go_meta sums;
};

/* What a pointer of the runtime leads to. */
static int claim(struct work *w, uint64_t start, uint64_t bytes, struct error *err)
{
	uint64_t got = 0, end = (start + bytes + PAGE - 1) / PAGE * PAGE;
	int r;

	if (!start || start % PAGE || end < start)
		return 0;
	r = regions_add_anonymous(w->to, w->index, w->maps, start, end, REGIONS_PROVEN, &got, err);
	if (r == 0)
		w->sums.meta_bytes += got;
	return r;
}

/* heapArena without what newer versions may have behind (DWARF of 1.17 to 1.26). */
static uint64_t arena_record_bytes(const struct work *w)
{
	if (w->heap->arena_spans)
		return w->heap->arena_spans + 68624;
	return w->minor >= 25 ? 69648 : 68624;
}

static int add_arena(struct work *w, uint64_t index, uint64_t record, struct error *err)
{
	uint64_t start = index * GO_HEAP_ARENA_BYTES - w->heap->arena_offset, got = 0;
	int r;

	if (start > INT64_MAX || record % 8)
		return 0;
	r = regions_add_anonymous(w->to, w->index, w->maps, start, start + GO_HEAP_ARENA_BYTES,
	                          REGIONS_PROVEN, &got, err);
	if (r < 0 || !got)
		return r;
	w->sums.arenas++;
	w->sums.arena_bytes += got;
	return claim(w, record, arena_record_bytes(w), err);
}

/* Entries of the map from @first on; nearly all are 0. */
static int add_some_arenas(struct work *w, uint64_t first, const uint64_t *words, size_t n,
                           struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < n; i += AT_ONCE) {
		uint64_t any = 0;

		for (size_t k = i; k < i + AT_ONCE; k++)
			any |= words[k];
		for (size_t k = i; any && k < i + AT_ONCE && r == 0; k++)
			if (words[k])
				r = add_arena(w, first + k, words[k], err);
	}
	return r;
}

static int add_arenas(struct work *w, struct error *err)
{
	uint64_t at = w->heap->arena_map, end = at + 8ull * GO_HEAP_MAP_ENTRIES, from, to;
	cleanup_free uint64_t *words = malloc(MAP_PIECE);
	int r = words ? claim(w, at, end - at, err) : error_oom(err);

	while (r == 0 && peek_present(w->peek, at, end, &from, &to)) {
		for (; from < to && r == 0; from += MAP_PIECE) {
			const uint64_t left = (to - from + PAGE - 1) / PAGE * PAGE;
			const uint64_t bytes = left < MAP_PIECE ? left : MAP_PIECE;

			if (peek_fill(w->peek, from, words, bytes))
				r = add_some_arenas(w, (from - w->heap->arena_map) / 8, words,
				                    bytes / 8, err);
		}
		at = to;
	}
	return r;
}

/* Slices of the summaries of free pages: their capacities are 2^14, 2^17, ... (48-bit heap
 * addresses, 3 bits a level; mpagealloc.go). */
static bool is_summary(const uint64_t *w)
{
	for (unsigned i = 0; i < LEVELS; i++)
		if (w[3 * i] % PAGE || !w[3 * i] || w[3 * i + 1] > w[3 * i + 2] ||
		    w[3 * i + 2] != 1ull << (14 + 3 * i))
			return false;
	return true;
}

/* pageAlloc.chunks is behind the summaries: pointers to bitmaps of 32 GiB each. */
static int add_chunk_maps(struct work *w, const uint64_t *chunks, struct error *err)
{
	uint64_t known = 0;
	int r = 0;

	/* proof: the arenas that are there have one */
	for (size_t i = 0; i < w->to->n_ranges; i++) {
		uint64_t start = w->to->ranges[i].start + w->heap->arena_offset;

		if (w->to->ranges[i].heap == w->index && (start >> 35) < CHUNK_MAPS)
			known |= chunks[start >> 35];
	}
	for (size_t i = 0; known && i < CHUNK_MAPS && r == 0; i++)
		if (chunks[i] &&
		    regions_is_anonymous(w->maps, chunks[i], chunks[i] + CHUNK_MAP_BYTES))
			r = claim(w, chunks[i], CHUNK_MAP_BYTES, err);
	return r;
}

/* pageAlloc.scav.index.chunks: 2^26 words (1.21+), 2^23 bytes (1.19, 1.20). */
static int add_scavenger(struct work *w, const uint64_t *words, size_t n, struct error *err)
{
	for (size_t i = 0; i + 3 <= n; i++) {
		uint64_t bytes = words[i + 2] == 1ull << 26 ? 8ull << 26 : words[i + 2];

		if ((words[i + 2] != 1ull << 26 && words[i + 2] != 1ull << 23) || !words[i] ||
		    words[i] % PAGE || words[i + 1] > words[i + 2] ||
		    !regions_is_anonymous(w->maps, words[i], words[i] + bytes))
			continue;
		return claim(w, words[i], bytes, err);
	}
	return 0;
}

static int add_page_alloc(struct work *w, struct error *err)
{
	cleanup_free uint64_t *words = malloc(MHEAP_BYTES);
	uint64_t start = w->heap->all_spans - MHEAP_BYTES;
	size_t n = MHEAP_BYTES / 8, found = 0;
	int r = 0;

	if (!words)
		return error_oom(err);
	if (start > w->heap->all_spans || !peek_fill(w->peek, start, words, MHEAP_BYTES))
		return 0;
	while (found + 3 * LEVELS + CHUNK_MAPS <= n && !is_summary(words + found))
		found++;
	if (found + 3 * LEVELS + CHUNK_MAPS > n)
		return 0;
	for (unsigned i = 0; i < LEVELS && r == 0; i++)
		r = claim(w, words[found + 3 * i], words[found + 3 * i + 2] * 8, err);
	found += 3 * LEVELS;
	if (r == 0)
		r = add_chunk_maps(w, words + found, err);
	found += CHUNK_MAPS;
	return r < 0 ? r : add_scavenger(w, words + found, n - found, err);
}

/* ---- persistentalloc: chunks of 256 KiB, each begins with a pointer to the next ---- */

static bool chain_has(struct work *w, uint64_t first, uint64_t addr, size_t *ret_n)
{
	struct go_chain chain = { 0 };
	uint64_t at = first;
	bool has = false;

	for (*ret_n = 0; *ret_n < MAX_PERSISTENT && go_chain_goes_on(&chain, at); (*ret_n)++) {
		if (at % PAGE || !regions_is_anonymous(w->maps, at, at + PERSISTENT))
			return false;
		has |= addr >= at && addr < at + PERSISTENT;
		if (!peek_read(w->peek, at, &at, sizeof(at)))
			return false;
	}
	return !at && has;
}

struct chain {
	uint64_t first;
	size_t length;
};

/* mspan records are made from them. The longest, because a page that was never touched looks like
 * the end of one in memory that does not tell absent pages. */
static void find_persistent(struct work *w, const uint64_t *words, size_t n, struct chain *best)
{
	uint64_t span = peek_word(w->peek, w->heap->spans);

	for (size_t i = 0; i < n; i++) {
		size_t length;

		if (words[i] && words[i] % PAGE == 0 && chain_has(w, words[i], span, &length) &&
		    length > best->length)
			*best = (struct chain){ words[i], length };
	}
}

static int add_persistent(struct work *w, const struct chain *c, struct error *err)
{
	uint64_t at = c->first;
	int r = 0;

	for (size_t i = 0; i < c->length && at && r == 0; i++) {
		r = claim(w, at, PERSISTENT, err);
		at = peek_word(w->peek, at);
	}
	return r;
}

/* mprof.go: the hash table of the profile's buckets, which persistentalloc made. */
static bool is_bucket_table(struct work *w, uint64_t at)
{
	uint64_t words[PAGE / 8], end = at + 8ull * BUCKETS, from, to, used = 0;

	if (!at || at % PAGE || !regions_is_anonymous(w->maps, at, end))
		return false;
	for (uint64_t pos = at; peek_present(w->peek, pos, end / PAGE * PAGE, &from, &to);
	     pos = to) {
		for (; from < to; from += PAGE) {
			if (!peek_fill(w->peek, from, words, PAGE))
				continue;
			for (size_t i = 0; i < PAGE / 8; i++) {
				uint64_t hash;

				if (!words[i])
					continue;
				/* bucket.hash says where it belongs (mprof.go: next,
				 * allnext, typ, hash) */
				used++;
				if (!peek_read(w->peek, words[i] + 24, &hash, sizeof(hash)) ||
				    hash % BUCKETS != (from - at) / 8 + i)
					return false;
			}
		}
	}
	return used > 0;
}

static int add_bucket_table(struct work *w, const uint64_t *words, size_t n, bool *done,
                            struct error *err)
{
	for (size_t i = 0; i < n && !*done; i++) {
		if (!words[i] || words[i] % PAGE || !is_bucket_table(w, words[i]))
			continue;
		*done = true;
		w->sums.buckets = words[i];
		w->sums.buckets_bytes = 8ull * BUCKETS;
		return claim(w, words[i], 8ull * BUCKETS, err);
	}
	return 0;
}

static int add_by_globals(struct work *w, struct error *err)
{
	cleanup_free uint64_t *words = malloc(1 << 20);
	const struct regions_data *d = &w->heap->data;
	struct chain persistent = { 0 };
	bool buckets = false;
	int r = 0;

	if (!words)
		return error_oom(err);
	for (uint64_t at = d->start; at < d->end && r == 0; at += 1 << 20) {
		size_t len = d->end - at < 1 << 20 ? d->end - at : 1 << 20;

		if (!peek_fill(w->peek, at, words, len))
			continue;
		find_persistent(w, words, len / 8, &persistent);
		r = add_bucket_table(w, words, len / 8, &buckets, err);
	}
	return r < 0 ? r : add_persistent(w, &persistent, err);
}

/* Pages that hold allocation bits of spans. */
static int add_bits(struct work *w, struct error *err)
{
	const struct go_spans *s = w->spans;
	int r = 0;

	for (size_t i = 0; i < s->n_bit_pages && r == 0;) {
		size_t k = i + 1;

		while (k < s->n_bit_pages && s->bit_pages[k] == s->bit_pages[k - 1] + PAGE)
			k++;
		r = claim(w, s->bit_pages[i], (k - i) * PAGE, err);
		i = k;
	}
	return r;
}

/* Kernels with CONFIG_ANON_VMA_NAME: Go 1.25 and later name what they map. */
static int add_named(struct work *w, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < w->maps->n_items && r == 0; i++) {
		const struct mapping *x = &w->maps->items[i];

		if (strncmp(x->name, "[anon: Go: ", 11) == 0)
			r = regions_add_range(w->to, w->index, x->start, x->end, REGIONS_SHAPE,
			                      err);
	}
	return r;
}

int go_meta_add(struct peek *p, const struct maps *m, const struct go_heap *h,
                const struct go_spans *s, unsigned minor, struct regions *to, uint32_t heap,
                struct go_meta *ret, struct error *err)
{
	struct work w = { p, m, h, s, minor, to, heap, { 0 } };
	int r = add_arenas(&w, err);

	if (r == 0)
		r = claim(&w, h->spans, 8 * h->cap_spans, err);
	if (r == 0)
		r = add_page_alloc(&w, err);
	if (r == 0)
		r = add_by_globals(&w, err);
	if (r == 0)
		r = add_bits(&w, err);
	if (r == 0)
		r = add_named(&w, err);
	if (r == 0)
		*ret = w.sums;
	return r;
}
