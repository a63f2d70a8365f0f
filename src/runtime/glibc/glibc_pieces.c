/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_pieces.h"

#include <string.h>

#include "runtime/glibc/glibc_walk.h"

enum { PAGE = 4096, MIN_CHUNK = 32, FENCE = 16 };

static bool may_be_heap(const struct mapping *v)
{
	return !v->inode && (v->prot & MAPS_WRITE) && !(v->prot & (MAPS_SHARED | MAPS_EXEC));
}

static bool is_brk(const struct mapping *v)
{
	return strcmp(v->name, "[heap]") == 0;
}

/* Two chunks of 16 bytes, which no block can be; a third in front of them is what was
 * left of the old top. Returns where they end, 0: no fence. */
static uint64_t end_of_fence(struct peek *p, uint64_t at)
{
	unsigned n = 0;

	while (n < 3 && (peek_word(p, at + 8) & ~7ull) == FENCE) {
		at += FENCE;
		if (++n > 1 && at % PAGE == 0)
			return at;
	}
	return 0;
}

struct search {
	struct peek *p;
	const struct glibc_arena *a;
	uint64_t left;  /* bytes that are not found yet */
	uint64_t steps; /* that may be taken: memory could lead us about for ever */
};

/* From chunk to chunk; where the piece that starts at @at ends, 0: it is none. */
static uint64_t end_of_piece(struct search *s, uint64_t at, uint64_t limit)
{
	const struct glibc_arena *a = s->a;
	const uint64_t start = at;
	struct peek *p = s->p;

	if (!(peek_word(p, at + 8) & GLIBC_WALK_PREV_INUSE))
		return 0;
	while (at < limit && limit - at >= 2 * FENCE && at - start <= s->left && s->steps) {
		uint64_t word = peek_word(p, at + 8), size = word & ~7ull;

		s->steps--;
		if (at == a->top)
			return a->top_bytes <= limit - at ? at + a->top_bytes : 0;
		if (size == FENCE)
			return at > start ? end_of_fence(p, at) : 0;
		if (size < MIN_CHUNK || size % 16 || size > limit - at ||
		    (word & (GLIBC_WALK_IS_MMAPPED | GLIBC_WALK_NON_MAIN)))
			return 0;
		at += size;
	}
	return 0;
}

/* What else may lie between pieces: a large block's own mapping, or anybody's pages. */
static uint64_t next_start(struct search *s, uint64_t at, uint64_t limit)
{
	const uint64_t word = peek_word(s->p, at + 8), size = word & ~7ull;

	s->steps -= s->steps ? 1 : 0;
	if ((word & 7) == GLIBC_WALK_IS_MMAPPED && size && size % PAGE == 0 && size < limit - at)
		return at + size;
	return at + PAGE;
}

static int add(struct search *s, struct glibc_arena *a, uint64_t at, uint64_t end,
               struct error *err)
{
	struct glibc_area area = { .base = at, .first = at, .end = end, .limit = end };

	area.has_top = a->top >= at && a->top < end;
	s->left -= end - at;
	return glibc_arena_add_area(a, area, err);
}

/* Those in one mapping: the kernel makes one of neighbours. */
static int find_in(struct search *s, const struct mapping *v, struct glibc_arena *a,
                   struct error *err)
{
	for (uint64_t at = v->start; at < v->end && s->left && s->steps;) {
		const uint64_t end = end_of_piece(s, at, v->end);

		if (!end || end - at > s->left) {
			at = next_start(s, at, v->end);
			continue;
		}
		if (add(s, a, at, end, err) < 0)
			return err->code;
		at = end;
	}
	return 0;
}

/* Of brk, all that the other pieces are not: what is in front of it is another's, as
 * the thread-local storage of a static program. */
static int find_in_brk(struct search *s, const struct mapping *v, struct glibc_arena *a,
                       struct error *err)
{
	const uint64_t at = v->end - s->left;

	if (s->left > v->end - v->start || at % FENCE || end_of_piece(s, at, v->end) != v->end)
		return 0;
	return add(s, a, at, v->end, err);
}

int glibc_pieces_find(struct peek *p, const struct regions_input *in, struct glibc_arena *a,
                      struct error *err)
{
	struct search s = { p, a, a->system_bytes, (1 << 20) + a->system_bytes / 16 };
	int r = 0;

	a->n_areas = 0;
	for (size_t i = 0; r == 0 && s.left && i < in->maps->n_items; i++) {
		if (may_be_heap(&in->maps->items[i]) && !is_brk(&in->maps->items[i]))
			r = find_in(&s, &in->maps->items[i], a, err);
	}
	for (size_t i = 0; r == 0 && s.left && i < in->maps->n_items; i++) {
		if (is_brk(&in->maps->items[i]))
			r = find_in_brk(&s, &in->maps->items[i], a, err);
	}
	if (r == 0 && !s.left)
		return 1;
	a->n_areas = 0;
	return r;
}
