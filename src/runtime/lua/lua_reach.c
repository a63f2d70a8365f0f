/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_reach.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/lua/lua_refs.h"

struct reach {
	struct lua_heap *heap;
	struct hash_map *pairs;
	uint8_t *marked; /* of each object */
	uint64_t *queue; /* addresses that are marked and not looked at yet */
	size_t n_queue, cap_queue;
};

static void reach_clear(struct reach *c)
{
	free(c->marked);
	free(c->queue);
}

static int mark(void *arg, uint64_t to, uint32_t label, struct error *err)
{
	struct reach *c = arg;
	const size_t i = lua_heap_find(c->heap, to);
	int r;

	if (i == SIZE_MAX || c->marked[i])
		return 0;
	c->marked[i] = 1;
	r = array_reserve(&c->queue, &c->cap_queue, c->n_queue + 1, err);
	if (r == 0)
		c->queue[c->n_queue++] = to;
	return r;
}

static int add_pair(void *arg, uint64_t key, uint64_t value, struct error *err)
{
	struct reach *c = arg;
	const size_t i = lua_heap_find(c->heap, key);
	int r = hash_map_add(c->pairs, key, value, err);

	return r == 0 && i != SIZE_MAX && c->marked[i] ? mark(c, value, 0, err) : r;
}

static int look_at(const struct lua_refs *refs, uint64_t addr, struct error *err)
{
	struct reach *c = refs->arg;
	const size_t i = lua_heap_find(c->heap, addr);
	const uint64_t *value;
	int r = 0;

	for (size_t pos = 0; r == 0 && (value = hash_map_next(c->pairs, addr, &pos));)
		r = mark(c, *value, 0, err);
	return r < 0 ? r : lua_refs_each(refs, addr, lua_heap_kind(c->heap, i), err);
}

int lua_reach_pairs(struct lua_heap *h, const uint64_t *roots, size_t n_roots,
                    struct hash_map *pairs, struct error *err)
{
	cleanup(reach_clear) struct reach c = { .heap = h, .pairs = pairs };
	const struct lua_refs refs = { .heap = h, .reference = mark, .pair = add_pair, .arg = &c };
	int r = 0;

	c.marked = calloc(h->n_objects + 1, 1);
	if (!c.marked)
		return error_oom(err);
	for (size_t i = 0; r == 0 && i < n_roots; i++)
		r = mark(&c, roots[i], 0, err);
	while (r == 0 && c.n_queue)
		r = look_at(&refs, c.queue[--c.n_queue], err);
	return r;
}
