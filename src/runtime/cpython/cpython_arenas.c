/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/cpython/cpython_arenas.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	WINDOW = 1 << 20,
	POOL_HEADER = 48,
	ALIGN = 16,
	MAX_CLASSES = 32,     /* 512 / 16 */
	FIRST_ARENAS = 16,    /* INITIAL_ARENA_OBJECTS; then doubled */
	MAX_ARENAS = 1 << 22, /* 4 TiB */
	PROBES = 8,           /* pools looked at to accept an arena */
};

/* struct arena_object */
struct record {
	uint64_t address, pool_address;
	uint32_t free_pools, total_pools;
	uint64_t freepools, next, prev;
};
_Static_assert(sizeof(struct record) == 48, "arena_object");

static const struct {
	uint64_t pool, arena;
} sizes[] = { { 16384, 1 << 20 }, { 4096, 256 << 10 } };

void cpython_arenas_clear(struct cpython_arenas *a)
{
	free(a->items);
	*a = (struct cpython_arenas){ 0 };
}

static uint32_t word32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

int cpython_arenas_pool(struct peek *p, const struct cpython_arenas *a,
                        const struct cpython_arena *arena, uint64_t start, struct cpython_pool *ret)
{
	uint8_t h[POOL_HEADER];
	uint32_t class_, max_offset;
	uint64_t size;

	if (!peek_read(p, start, h, sizeof(h)))
		return 0;
	class_ = word32(h + 36);
	max_offset = word32(h + 44);
	*ret = (struct cpython_pool){ .start = start,
		                      .used = word32(h),
		                      .next_offset = word32(h + 40) };
	memcpy(&ret->free_list, h + 8, 8);
	if (word32(h + 32) != arena->index)
		return -1;
	/* a pool that was cut off and never used has no class yet (DUMMY_SIZE_IDX) */
	if (class_ == 0xffff && !ret->used)
		return 1;
	size = (class_ + 1) * a->block_align;
	ret->block_bytes = size;
	if (class_ >= MAX_CLASSES || max_offset != a->pool_bytes - size ||
	    ret->used > (a->pool_bytes - POOL_HEADER) / size || ret->next_offset < POOL_HEADER ||
	    ret->next_offset > a->pool_bytes || (ret->next_offset - POOL_HEADER) % size)
		return -1;
	return 1;
}

static uint64_t first_pool(const struct cpython_arenas *a, const struct cpython_arena *arena)
{
	return (arena->start + a->pool_bytes - 1) / a->pool_bytes * a->pool_bytes;
}

/* What an entry says; 1 an arena, 0 not in use, -1 nonsense. */
static int parse(const struct maps *m, const struct cpython_arenas *a, const struct record *r,
                 struct cpython_arena *ret)
{
	uint64_t pools = a->arena_bytes / a->pool_bytes, end = r->address + a->arena_bytes;

	if (!r->address)
		return r->next % 8 ? -1 : 0;
	*ret = (struct cpython_arena){ .start = r->address,
		                       .carved = r->pool_address,
		                       .free_pools = r->free_pools,
		                       .pools = r->total_pools };
	/* an address that is no multiple of a pool costs one */
	if (r->address % 4096 || end < r->address ||
	    r->total_pools != pools - (r->address % a->pool_bytes != 0) ||
	    r->free_pools > r->total_pools || r->pool_address % a->pool_bytes ||
	    r->pool_address < r->address || r->pool_address > end ||
	    (r->freepools && (r->freepools < r->address || r->freepools >= end)) ||
	    !regions_is_anonymous(m, r->address, end))
		return -1;
	return 1;
}

/* Do the arena's first pools say that they are its? */
static bool is_arena(struct peek *p, const struct cpython_arenas *a,
                     const struct cpython_arena *arena)
{
	uint64_t at = first_pool(a, arena);
	unsigned sound = 0, tried = 0;

	for (; at + a->pool_bytes <= arena->carved && tried < PROBES; at += a->pool_bytes) {
		struct cpython_pool pool;

		tried++;
		sound += cpython_arenas_pool(p, a, arena, at, &pool) > 0;
	}
	return tried && 2 * sound > tried;
}

static int add(struct cpython_arenas *a, const struct cpython_arena *arena, struct error *err)
{
	int r = array_reserve(&a->items, &a->cap_items, a->n_items + 1, err);

	if (r == 0)
		a->items[a->n_items++] = *arena;
	return r;
}

enum take { TAKE_ON, TAKE_END };

/* Entries [from, to). The end: one is nonsense, so these are not the table's. */
static int take(struct peek *p, const struct maps *m, struct cpython_arenas *a, uint32_t from,
                uint32_t to, struct error *err)
{
	size_t before = a->n_items;
	int r = 0;

	for (uint32_t i = from; i < to && r == 0; i++) {
		struct cpython_arena arena;
		struct record record;
		int found = -1;

		if (peek_read(p, a->table + sizeof(record) * i, &record, sizeof(record)))
			found = parse(m, a, &record, &arena);
		if (found < 0) {
			a->n_items = before;
			return TAKE_END;
		}
		if (!found)
			continue;
		arena.index = i;
		a->looked_at++;
		if (is_arena(p, a, &arena)) {
			a->proven++;
			r = add(a, &arena, err);
		} else if (arena.carved == first_pool(a, &arena)) {
			r = add(a, &arena, err); /* made just now */
		}
	}
	return r < 0 ? r : TAKE_ON;
}

static int by_start(const void *a, const void *b)
{
	const struct cpython_arena *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* The table's length is not looked for: it doubles, and behind its end is nonsense. 1, 0. */
static int take_all(struct peek *p, const struct maps *m, struct cpython_arenas *a,
                    struct error *err)
{
	int r = take(p, m, a, 0, FIRST_ARENAS, err);

	if (r < 0 || r == TAKE_END || !a->proven)
		return r < 0 ? r : 0;
	for (uint32_t n = FIRST_ARENAS; r == TAKE_ON && n < MAX_ARENAS; n *= 2)
		r = take(p, m, a, n, 2 * n, err);
	if (r < 0)
		return r;
	qsort(a->items, a->n_items, sizeof(*a->items), by_start);
	return 2 * a->proven > a->looked_at;
}

int cpython_arenas_at(struct peek *p, const struct maps *m, uint64_t table,
                      struct cpython_arenas *ret, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		cleanup(cpython_arenas_clear) struct cpython_arenas a = {
			.table = table,
			.pool_bytes = sizes[i].pool,
			.arena_bytes = sizes[i].arena,
			.block_align = ALIGN
		};
		int r = take_all(p, m, &a, err);

		if (r == 0)
			continue;
		if (r > 0) {
			*ret = a;
			a = (struct cpython_arenas){ 0 };
		}
		return r;
	}
	return 0;
}

int cpython_arenas_next(struct peek *p, const struct maps *m, const struct regions_data *d,
                        uint64_t *pos, struct cpython_arenas *ret, struct error *err)
{
	cleanup_free uint64_t *words = malloc(WINDOW);
	int r = 0;

	if (!words)
		return error_oom(err);
	for (uint64_t at = *pos; at < d->end && r == 0;) {
		size_t i, len = d->end - at < WINDOW ? d->end - at : WINDOW;

		if (!peek_fill(p, at, words, len) && p->gone)
			return 0;
		for (i = 0; i < len / 8 && r == 0; i++)
			if (words[i] > 4096 && words[i] % 16 == 0 &&
			    regions_is_anonymous(m, words[i], words[i] + 8))
				r = cpython_arenas_at(p, m, words[i], ret, err);
		at += 8 * i;
		*pos = at;
	}
	return r;
}
