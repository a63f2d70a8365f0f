/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_threads.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"

/* Below the thread pointer: the variables of all modules that were there at the
 * start. A program may have much of its own. */
static const size_t reaches[] = { 16 << 10, 1 << 20 };

void glibc_threads_clear(struct glibc_threads *t)
{
	free(t->items);
	*t = (struct glibc_threads){ 0 };
}

struct places {
	uint32_t *hits; /* of the word at tcb - 8 * (i + 1) */
	size_t n;
};

/* The 8-byte words below @tcb, nearest last. */
static size_t words_below(struct peek *p, uint64_t tcb, uint64_t *words, size_t n)
{
	if (tcb < n * 8)
		n = tcb / 8;
	peek_fill(p, tcb - n * 8, words, n * 8);
	return n;
}

static int index_of(const struct hash_map *m, uint64_t word)
{
	const uint64_t *found = word ? hash_map_get(m, word) : NULL;

	return found ? (int)*found : GLIBC_THREADS_NONE;
}

/* The distance (in words) at which the most threads have a word of @wanted; 0: none. */
static size_t best_place(struct peek *p, const struct glibc_threads *t,
                         const struct hash_map *wanted, uint64_t *words, uint32_t *hits, size_t n)
{
	size_t best = 0;

	memset(hits, 0, n * sizeof(*hits));
	for (size_t i = 0; i < t->n; i++) {
		size_t got = words_below(p, t->items[i].thread->tcb, words, n);

		for (size_t k = 1; k <= got; k++)
			hits[k - 1] += index_of(wanted, words[got - k]) >= 0;
	}
	for (size_t k = 1; k <= n; k++) {
		if (hits[k - 1] > (best ? hits[best - 1] : 0))
			best = k;
	}
	return best;
}

/* Returns the distance, 0 when there is none. */
static int find_place(struct peek *p, const struct glibc_threads *t, const struct hash_map *wanted,
                      size_t *ret, struct error *err)
{
	*ret = 0;
	if (!wanted->n)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(reaches) && !*ret; i++) {
		size_t n = reaches[i] / 8;
		cleanup_free uint64_t *words = malloc(n * 8);
		cleanup_free uint32_t *hits = malloc(n * sizeof(*hits));

		if (!words || !hits)
			return error_oom(err);
		*ret = best_place(p, t, wanted, words, hits, n);
	}
	return 0;
}

static int index_all(const struct glibc_arenas *arenas, const struct glibc_tcaches *tcaches,
                     struct hash_map *by_arena, struct hash_map *by_tcache, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < arenas->n; i++)
		r = hash_map_put(by_arena, arenas->items[i].at, i, err);
	for (size_t i = 0; r == 0 && i < tcaches->n; i++)
		r = hash_map_put(by_tcache, tcaches->items[i].at, i, err);
	return r;
}

/* Two threads can't have one thread pointer: then neither is known. */
static bool is_single(const struct threads *threads, size_t i)
{
	for (size_t k = 0; k < threads->n_items; k++) {
		if (k != i && threads->items[k].tcb == threads->items[i].tcb)
			return false;
	}
	return true;
}

static int list_threads(const struct threads *threads, struct glibc_threads *t, struct error *err)
{
	t->items = calloc(threads->n_items + 1, sizeof(*t->items));
	if (!t->items)
		return error_oom(err);
	for (size_t i = 0; i < threads->n_items; i++) {
		const struct thread *thread = &threads->items[i];

		if (thread->tcb && is_single(threads, i))
			t->items[t->n++] = (struct glibc_thread){ thread, GLIBC_THREADS_NONE,
				                                  GLIBC_THREADS_NONE };
	}
	return 0;
}

int glibc_threads_match(struct peek *p, const struct threads *threads,
                        const struct glibc_arenas *arenas, const struct glibc_tcaches *tcaches,
                        struct glibc_threads *ret, struct error *err)
{
	cleanup(hash_map_clear) struct hash_map by_arena = { 0 }, by_tcache = { 0 };
	cleanup(glibc_threads_clear) struct glibc_threads t = { 0 };
	size_t arena_place, tcache_place;
	int r = list_threads(threads, &t, err);

	if (r == 0)
		r = index_all(arenas, tcaches, &by_arena, &by_tcache, err);
	if (r == 0)
		r = find_place(p, &t, &by_arena, &arena_place, err);
	if (r == 0)
		r = find_place(p, &t, &by_tcache, &tcache_place, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < t.n; i++) {
		uint64_t tcb = t.items[i].thread->tcb;

		if (arena_place)
			t.items[i].arena = index_of(&by_arena, peek_word(p, tcb - 8 * arena_place));
		if (tcache_place)
			t.items[i].tcache = index_of(&by_tcache,
			                             peek_word(p, tcb - 8 * tcache_place));
	}
	*ret = t;
	t = (struct glibc_threads){ 0 };
	return 0;
}
