/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_heap.h"

#include <string.h>

#include "base/cleanup.h"

enum {
	WINDOW = 1 << 20,
	SPAN_BYTES = 136, /* the shortest mspan (1.17) */
	SAMPLES = 64,
	MIN_SPANS = 4,
	SMALL_PAGES = 16,      /* sizeclasses.go: no class has spans of more than 10 */
	ARENA_CHUNK = 8 << 20, /* arena.go, userArenaChunkBytes */
	TYPE_BYTES = 48,       /* internal/abi.Type */
	ARENAS_WITHIN = 1024,  /* mheap_.arenas is at most that far behind allspans */
};
#define MAX_SPANS (1ull << 32)

static const struct go_heap_layout layouts[] = {
	{ "1.22 and later", 48, 50, 2, 64, 96, 104 },
	{ "1.17 to 1.20", 48, 56, 8, 72, 96, 104 },
	{ "1.21", 48, 56, 8, 72, 104, 112 },
};

static uint64_t number(const uint8_t *p, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, p, bytes);
	return value;
}

/* A chunk of a user arena (GOEXPERIMENT=arenas): one large object, behind which 1.22+ keeps a bit a
 * word and a type of the chunk's own (arena.go, userArenaChunkReserveBytes). */
static bool is_arena_chunk(const struct go_heap_span *s)
{
	return s->pages * GO_HEAP_PAGE == ARENA_CHUNK && !(s->class_ >> 1) &&
	       s->elemsize == ARENA_CHUNK - ARENA_CHUNK / 64 - TYPE_BYTES;
}

/* Does what the span says of itself fit together? */
static bool is_sound(const struct go_heap_span *s)
{
	uint64_t bytes = s->pages * GO_HEAP_PAGE;

	if (s->state == GO_HEAP_DEAD)
		return true;
	if (!s->start || s->start % GO_HEAP_PAGE || !s->pages || s->pages > 1ull << 30)
		return false;
	if (s->state == GO_HEAP_MANUAL)
		return true;
	return s->elemsize && s->elemsize <= bytes && s->n_elems &&
	       s->n_elems <= bytes / s->elemsize && s->count <= s->n_elems &&
	       s->free_index <= s->n_elems && s->limit > s->start && s->limit <= s->start + bytes &&
	       (s->class_ >> 1 ? s->pages <= SMALL_PAGES
	                       : s->n_elems == 1 && (s->elemsize == bytes || is_arena_chunk(s)));
}

static bool decode(const uint8_t *b, const struct go_heap_layout *l, struct go_heap_span *ret)
{
	uint8_t state = b[l->count + 3];

	*ret = (struct go_heap_span){
		.at = ret->at,
		.start = number(b + 24, 8),
		.pages = number(b + 32, 8),
		.free_index = number(b + l->index, l->number_bytes),
		.n_elems = number(b + l->nelems, l->number_bytes),
		.bits = number(b + l->bits, 8),
		.mark_bits = number(b + l->bits + 8, 8),
		.count = number(b + l->count, 2),
		.class_ = b[l->count + 2],
		.state = state,
		.elemsize = number(b + l->elemsize, 8),
		.limit = number(b + l->elemsize + 8, 8),
	};
	if (state > GO_HEAP_MANUAL || !is_sound(ret))
		return false;
	/* a chunk that was freed has no memory any more, and counts no more
	 * (setUserArenaChunkToFault) */
	if (state == GO_HEAP_IN_USE && is_arena_chunk(ret) && (ret->class_ & 1))
		ret->state = GO_HEAP_DEAD;
	return true;
}

int go_heap_read_span(struct peek *p, const struct go_heap *h, uint64_t at,
                      struct go_heap_span *ret)
{
	uint8_t record[SPAN_BYTES];

	ret->at = at;
	if (at % 8)
		return -1;
	if (!peek_read(p, at, record, sizeof(record)))
		return 0;
	return decode(record, h->layout, ret) ? 1 : -1;
}

/* Do sampled spans agree with @l? Sets one that is in use. */
static bool fits(struct peek *p, struct go_heap *h, const struct go_heap_layout *l,
                 struct go_heap_span *in_use)
{
	uint64_t step = h->n_spans > SAMPLES ? h->n_spans / SAMPLES : 1;
	unsigned tried = 0, sound = 0, used = 0;

	h->layout = l;
	for (uint64_t i = 0; i < h->n_spans && tried < 2 * SAMPLES; i += step) {
		struct go_heap_span s = { 0 };
		int r = go_heap_read_span(p, h, peek_word(p, h->spans + 8 * i), &s);

		tried += r != 0;
		sound += r > 0;
		if (r <= 0 || s.state != GO_HEAP_IN_USE)
			continue;
		used++;
		*in_use = s;
	}
	/* a running program may be changing one or two */
	return used && tried - sound <= tried / 16;
}

uint64_t go_heap_arena(struct peek *p, const struct go_heap *h, uint64_t addr)
{
	uint64_t index = (addr + h->arena_offset) / GO_HEAP_ARENA_BYTES;

	return index < GO_HEAP_MAP_ENTRIES ? peek_word(p, h->arena_map + 8 * index) : 0;
}

uint64_t go_heap_span_of(struct peek *p, const struct go_heap *h, uint64_t addr)
{
	uint64_t arena = go_heap_arena(p, h, addr);
	uint64_t page = addr % GO_HEAP_ARENA_BYTES / GO_HEAP_PAGE;

	return arena ? peek_word(p, arena + h->arena_spans + 8 * page) : 0;
}

/* The map of arenas lies behind the list, and gives @s back for its address. */
static bool find_map(struct peek *p, struct go_heap *h, const struct go_heap_span *s)
{
	/* arenaBaseOffset: amd64, other machines (mheap.go, malloc.go) */
	static const uint64_t offsets[] = { 1ull << 47, 0 };
	/* heapArena.spans: 1.22+, 1.20-1.21 (behind 1 bit a word and noMorePtrs), 1.17-1.19 */
	static const uint64_t spans[] = { 0, 1064960, 2097152 };

	for (uint64_t at = h->all_spans + 24; at < h->all_spans + ARENAS_WITHIN; at += 8) {
		h->arena_map = peek_word(p, at);
		if (!h->arena_map || h->arena_map % 4096)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
			h->arena_offset = offsets[i];
			for (size_t k = 0; k < ARRAY_SIZE(spans); k++) {
				h->arena_spans = spans[k];
				if (go_heap_span_of(p, h, s->start) == s->at)
					return true;
			}
		}
	}
	return false;
}

/* Is {pointer, length, capacity} at @w the list of all spans? */
static bool is_list(struct peek *p, const struct maps *m, const uint64_t *w, struct go_heap *h)
{
	struct go_heap_span s = { 0 };

	/* it has pages of its own (mheap.go, recordspan) */
	if (w[1] < MIN_SPANS || w[1] > w[2] || w[2] > MAX_SPANS || !w[0] || w[0] % 4096 ||
	    !regions_is_anonymous(m, w[0], w[0] + 8 * w[2]))
		return false;
	h->spans = w[0];
	h->n_spans = w[1];
	h->cap_spans = w[2];
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
		if (fits(p, h, &layouts[i], &s) && find_map(p, h, &s))
			return true;
	return false;
}

int go_heap_next(struct peek *p, const struct maps *m, const struct regions_data *d, uint64_t *pos,
                 struct go_heap *ret, struct error *err)
{
	cleanup_free uint64_t *words = malloc(WINDOW);
	uint64_t at = (*pos + 7) / 8 * 8;

	if (!words)
		return error_oom(err);
	while (at + 24 <= d->end) {
		size_t len = d->end - at < WINDOW ? d->end - at : WINDOW;

		if (!peek_fill(p, at, words, len) && p->gone)
			return 0;
		for (size_t i = 0; i + 3 <= len / 8; i++) {
			struct go_heap h = { .data = *d, .all_spans = at + 8 * i };

			if (!is_list(p, m, words + i, &h))
				continue;
			*ret = h;
			*pos = h.all_spans + 24;
			return 1;
		}
		at += len / 8 * 8 - 16; /* a slice may lie across */
		if (len < WINDOW)
			break;
	}
	return 0;
}
