/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/cpython/cpython.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/cpython/cpython_arenas.h"
#include "runtime/cpython/cpython_gc.h"
#include "runtime/peek.h"

enum { POOL_HEADER = 48 };

/* As sys._debugmallocstats() has them. */
struct sums {
	uint64_t blocks, in_use;     /* allocated blocks */
	uint64_t available;          /* blocks of used pools that are free */
	uint64_t pools, free_pools;  /* used; unused, never cut off or empty */
	uint64_t headers, quantized; /* pool headers; what no block fits into */
	uint64_t checked, inconsistent;
};

static void add_pool(struct sums *s, const struct cpython_arenas *a, const struct cpython_pool *p)
{
	uint64_t room = a->pool_bytes - POOL_HEADER;

	if (!p->used)
		return;
	s->pools++;
	s->blocks += p->used;
	s->in_use += p->used * p->block_bytes;
	s->headers += POOL_HEADER;
	s->quantized += room % p->block_bytes;
	s->available += room - room % p->block_bytes - p->used * p->block_bytes;
}

static uint64_t first_pool(const struct cpython_arenas *a, const struct cpython_arena *arena)
{
	return (arena->start + a->pool_bytes - 1) / a->pool_bytes * a->pool_bytes;
}

static void sum_arena(struct peek *p, const struct cpython_arenas *a,
                      const struct cpython_arena *arena, struct sums *s)
{
	uint64_t at = first_pool(a, arena);

	for (; at + a->pool_bytes <= arena->carved; at += a->pool_bytes) {
		struct cpython_pool pool;
		int r = cpython_arenas_pool(p, a, arena, at, &pool);

		s->checked++;
		s->inconsistent += r < 0;
		if (r > 0)
			add_pool(s, a, &pool);
	}
}

static void add_figures(struct regions_heap *h, const struct cpython_arenas *a,
                        const struct sums *s, const struct cpython_gc *gc)
{
	regions_figure(h, "blocks", "blocks", s->blocks);
	regions_figure(h, "available_bytes", "free in pools", s->available);
	regions_figure(h, "free_pool_bytes", "free pools", s->free_pools * a->pool_bytes);
	regions_figure(h, "overhead_bytes", "headers and remainders", s->headers + s->quantized);
	regions_figure(h, "pools", "pools", s->pools);
	regions_figure(h, "arenas", "arenas", a->n_items);
	if (gc->at && gc->whole)
		regions_figure(h, "gc_objects", "objects of the collector", gc->objects);
}

static int add_heap(struct peek *p, const struct regions_input *in, const struct cpython_arenas *a,
                    const char *exe, struct regions *to, struct error *err)
{
	struct sums s = { 0 };
	struct cpython_gc gc;
	struct regions_heap *h;
	size_t first = to->n_ranges;
	uint32_t index;
	int r;

	for (size_t i = 0; i < a->n_items; i++) {
		sum_arena(p, a, &a->items[i], &s);
		s.free_pools += a->items[i].pools;
	}
	s.free_pools -= s.pools < s.free_pools ? s.pools : s.free_pools;
	r = cpython_gc_find(p, in->maps, exe, &gc, err);
	if (r >= 0)
		r = regions_add_heap(to, REGIONS_PYTHON, &h, &index, err);
	if (r < 0)
		return r;
	snprintf(h->name, sizeof(h->name), "Python objects");
	snprintf(h->detail, sizeof(h->detail),
	         "obmalloc: blocks up to 512 bytes, arenas of %" PRIu64 " KiB; larger objects are "
	         "in the allocator below",
	         a->arena_bytes >> 10);
	snprintf(h->evidence, sizeof(h->evidence),
	         "table of arenas at 0x%" PRIx64 "; of %" PRIu64 " pools %" PRIu64
	         " name their arena and fit their size class",
	         a->table, s.checked, s.checked - s.inconsistent);
	h->in_use_bytes = s.in_use;
	h->checked = s.checked;
	h->inconsistent = s.inconsistent;
	add_figures(h, a, &s, &gc);
	for (size_t i = 0; r >= 0 && i < a->n_items; i++)
		r = regions_add_range(to, index, a->items[i].start,
		                      a->items[i].start + a->arena_bytes, REGIONS_PROVEN, err);
	regions_join(to, first);
	return r < 0 ? r : 0;
}

/* The arenas of the next module that has some, from *pos on: 1, 0 at the end, or
 * -errno. One runtime a module; a second word may name the same table. */
static int next_arenas(struct peek *p, const struct runtime_view *v, const struct regions_input *in,
                       size_t *pos, struct cpython_arenas *ret, struct error *err)
{
	struct regions_data d;
	int r = 0;

	while (r == 0 && regions_next_data(in->maps, v->target->exe, pos, &d)) {
		uint64_t at = d.start;

		r = cpython_arenas_next(p, in->maps, &d, &at, ret, err);
	}
	return r;
}

static int label_regions(const struct runtime_view *v, const struct regions_input *in,
                         struct regions *to, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	int r = peek_open(&p, v->target, err);

	for (size_t pos = 0; r >= 0;) {
		cleanup(cpython_arenas_clear) struct cpython_arenas a = { 0 };

		r = next_arenas(&p, v, in, &pos, &a, err);
		if (r == 0)
			break;
		if (r > 0)
			r = add_heap(&p, in, &a, v->target->exe, to, err);
	}
	return r;
}

/* Is the block at @at in the pool's list of free ones? */
static bool is_free(struct peek *p, const struct cpython_arenas *a, const struct cpython_pool *pool,
                    uint64_t at)
{
	uint64_t block = pool->free_list;

	if (at - pool->start >= pool->next_offset)
		return true;
	for (uint64_t n = a->pool_bytes / pool->block_bytes; block && n; n--) {
		if (block == at)
			return true;
		if (block < pool->start || block >= pool->start + a->pool_bytes)
			return false;
		block = peek_word(p, block);
	}
	return false;
}

static int block_in(struct peek *p, const struct cpython_arenas *a,
                    const struct cpython_arena *arena, uint64_t addr, struct regions_block *ret)
{
	uint64_t start = addr / a->pool_bytes * a->pool_bytes, offset = addr - start;
	struct cpython_pool pool;

	*ret = (struct regions_block){ .kind = REGIONS_PYTHON,
		                       .start = start,
		                       .size = a->pool_bytes,
		                       .state = REGIONS_BLOCK_FREE };
	snprintf(ret->heap, sizeof(ret->heap), "Python objects");
	snprintf(ret->detail, sizeof(ret->detail), "free pool");
	if (start < arena->start) {
		/* an arena that does not begin with a pool wastes its ends */
		ret->start = arena->start;
		ret->size = first_pool(a, arena) - arena->start;
		snprintf(ret->detail, sizeof(ret->detail), "edge of an arena");
		return 1;
	}
	if (start >= arena->carved || cpython_arenas_pool(p, a, arena, start, &pool) <= 0 ||
	    !pool.used)
		return 1;
	if (offset < POOL_HEADER) {
		ret->size = POOL_HEADER;
		ret->state = REGIONS_BLOCK_LIVE;
		snprintf(ret->detail, sizeof(ret->detail), "header of a pool");
		return 1;
	}
	ret->start += POOL_HEADER + (offset - POOL_HEADER) / pool.block_bytes * pool.block_bytes;
	ret->size = pool.block_bytes;
	ret->state = is_free(p, a, &pool, ret->start) ? REGIONS_BLOCK_FREE : REGIONS_BLOCK_LIVE;
	snprintf(ret->detail, sizeof(ret->detail), "size class %" PRIu64, pool.block_bytes);
	return 1;
}

static int find_block(const struct runtime_view *v, const struct regions_input *in, uint64_t addr,
                      struct regions_block *ret, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	int r = peek_open(&p, v->target, err);

	for (size_t pos = 0; r >= 0;) {
		cleanup(cpython_arenas_clear) struct cpython_arenas a = { 0 };

		r = next_arenas(&p, v, in, &pos, &a, err);
		if (r == 0)
			break;
		for (size_t i = 0; r > 0 && i < a.n_items; i++)
			if (addr >= a.items[i].start && addr - a.items[i].start < a.arena_bytes)
				return block_in(&p, &a, &a.items[i], addr, ret);
	}
	return r;
}

const struct runtime_ops cpython_runtime = {
	.name = "cpython",
	.title = "CPython",
	.label_regions = label_regions,
	.find_block = find_block,
};
