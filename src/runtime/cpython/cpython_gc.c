/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/cpython/cpython_gc.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum {
	GENERATIONS = 3,
	GENERATION_BYTES = 24,
	WINDOW = 1 << 20,
	BEHIND = GENERATIONS * GENERATION_BYTES,
};
#define MAX_OBJECTS   4000000ull /* more would take seconds */
#define MAX_THRESHOLD 1000000000u
#define HEAP_MAX      (16ull << 20) /* the interpreter is made early */

static bool is_linked(struct peek *p, uint64_t head, uint64_t next, uint64_t prev)
{
	/* _gc_prev has flags in its low bits, _gc_next one */
	return next && prev && (peek_word(p, (next & ~3ull) + 8) & ~3ull) == head &&
	       (peek_word(p, prev & ~3ull) & ~3ull) == head;
}

static bool is_generations(struct peek *p, const uint64_t *w, uint64_t at)
{
	if (w[BEHIND / 8] != at)
		return false;
	for (unsigned i = 0; i < GENERATIONS; i++)
		if ((uint32_t)w[3 * i + 2] > MAX_THRESHOLD ||
		    !is_linked(p, at + GENERATION_BYTES * i, w[3 * i], w[3 * i + 1]))
			return false;
	return true;
}

static void count(struct peek *p, struct cpython_gc *g)
{
	g->whole = true;
	for (unsigned i = 0; i < GENERATIONS; i++) {
		uint64_t head = g->at + GENERATION_BYTES * i, before = head, links[2];
		uint64_t at = peek_word(p, head) & ~3ull;

		while (at != head && g->objects < MAX_OBJECTS) {
			if (at % 8 || !peek_read(p, at, links, sizeof(links)) ||
			    (links[1] & ~3ull) != before) {
				g->whole = false;
				break;
			}
			g->objects++;
			before = at;
			at = links[0] & ~3ull;
		}
		g->whole &= at == head;
	}
}

static int find_in(struct peek *p, uint64_t start, uint64_t end, struct cpython_gc *ret,
                   struct error *err)
{
	cleanup_free uint64_t *words = malloc(WINDOW);
	uint64_t at = start;

	if (!words)
		return error_oom(err);
	while (at + BEHIND + 8 <= end) {
		size_t len = end - at < WINDOW ? end - at : WINDOW;

		if (peek_fill(p, at, words, len))
			for (size_t i = 0; i + BEHIND / 8 < len / 8; i++)
				if (is_generations(p, words + i, at + 8 * i)) {
					ret->at = at + 8 * i;
					return 1;
				}
		if (len < WINDOW)
			break;
		at += len - BEHIND;
	}
	return 0;
}

int cpython_gc_find(struct peek *p, const struct maps *m, const char *exe, struct cpython_gc *ret,
                    struct error *err)
{
	struct regions_data d;
	int r = 0;

	*ret = (struct cpython_gc){ 0 };
	for (size_t pos = 0; r == 0 && regions_next_data(m, exe, &pos, &d);)
		r = find_in(p, d.start, d.end, ret, err);
	for (size_t i = 0; r == 0 && i < m->n_items; i++) {
		const struct mapping *x = &m->items[i];
		uint64_t len = x->end - x->start;

		if (strcmp(x->name, "[heap]") == 0)
			r = find_in(p, x->start, x->start + (len < HEAP_MAX ? len : HEAP_MAX), ret,
			            err);
	}
	if (r > 0)
		count(p, ret);
	return r;
}
