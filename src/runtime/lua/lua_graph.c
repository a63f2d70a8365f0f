/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/lua/lua_heap.h"
#include "runtime/lua/lua_names.h"
#include "runtime/lua/lua_reach.h"
#include "runtime/lua/lua_refs.h"
#include "runtime/lua/lua_roots.h"

enum { NO_NODE = UINT32_MAX, PROGRESS_EVERY = 1 << 16, TRIES = 50 };

struct making {
	struct lua_heap heap;
	struct lua_names names;
	struct object_graph *g;
	const struct object_graph_options *options;
	uint32_t *node;  /* of each object; NO_NODE: not met */
	uint32_t *place; /* of each node from `first` on: its object */
	size_t cap_place;
	uint32_t first, at; /* nodes: of this state, and the one that is looked at */
	size_t number;
	struct hash_map pairs; /* of keys -> values that they hold */
	uint64_t *roots;       /* addresses: where the walk begins */
	size_t n_roots, cap_roots;
};

static void making_clear(struct making *m)
{
	lua_names_clear(&m->names);
	lua_heap_close(&m->heap);
	free(m->node);
	free(m->place);
	free(m->roots);
	hash_map_clear(&m->pairs);
}

/* ---- nodes ---- */

/* The node of object @i, made when it is met first. */
static int meet(struct making *m, size_t i, uint32_t *ret, struct error *err)
{
	const uint64_t addr = lua_heap_address(&m->heap, i);
	const enum lua_kind kind = lua_heap_kind(&m->heap, i);
	const uint32_t node = (uint32_t)m->g->n_nodes;
	uint64_t size;
	uint32_t type = 0;
	int r;

	*ret = m->node[i];
	if (*ret != NO_NODE)
		return 0;
	size = lua_heap_size(&m->heap, addr, kind);
	if (!size) { /* it had one: a page that is just being moved is not there for a moment */
		peek_forget(m->heap.peek);
		size = lua_heap_size(&m->heap, addr, kind);
	}
	r = array_reserve(&m->place, &m->cap_place, node - m->first + 1, err);
	if (r == 0)
		r = object_graph_node(m->g, addr, size, err);
	if (r == 0 && !(m->options && m->options->no_types))
		r = lua_names_type(&m->names, addr, kind, &type, err);
	if (r < 0)
		return r;
	if (type)
		object_graph_set_type(m->g, node, type, OBJECT_TYPED);
	m->place[node - m->first] = (uint32_t)i;
	*ret = m->node[i] = node;
	return 0;
}

static int add_edge(void *arg, uint64_t to, uint32_t label, struct error *err)
{
	struct making *m = arg;
	const size_t i = lua_heap_find(&m->heap, to);
	uint32_t node;
	int r;

	if (i == SIZE_MAX || lua_heap_is_special(&m->heap, i))
		return 0;
	r = meet(m, i, &node, err);
	return r < 0 ? r : object_graph_edge(m->g, m->at, node, label, err);
}

/* ---- roots ---- */

static int add_root(void *arg, const struct object_root *root, struct error *err)
{
	struct making *m = arg;

	return object_graph_root(m->g, root, err);
}

static int add_root_edge(void *arg, uint64_t to, uint32_t label, struct error *err)
{
	struct making *m = arg;
	const size_t i = lua_heap_find(&m->heap, to);
	uint32_t node;
	int r;

	/* special ones are met by the root that they are of, and first by that: see lua_roots.c */
	if (i == SIZE_MAX || (lua_heap_is_special(&m->heap, i) && m->node[i] != NO_NODE))
		return 0;
	r = meet(m, i, &node, err);
	return r < 0 ? r : object_graph_root_edge(m->g, node, label, err);
}

static int note_root(void *arg, uint64_t to, uint32_t label, struct error *err)
{
	struct making *m = arg;
	int r = array_reserve(&m->roots, &m->cap_roots, m->n_roots + 1, err);

	if (r == 0)
		m->roots[m->n_roots++] = to;
	return r;
}

static int no_root(void *arg, const struct object_root *root, struct error *err)
{
	return 0;
}

static int find_pairs(struct making *m, struct error *err)
{
	const struct lua_roots_sink sink = { no_root, note_root, m };
	int r = lua_roots_each(&m->heap, &m->names, m->number, &sink, err);

	return r < 0 ? r : lua_reach_pairs(&m->heap, m->roots, m->n_roots, &m->pairs, err);
}

/* ---- the walk ---- */

static int look_at(struct making *m, const struct lua_refs *refs, struct error *err)
{
	const size_t i = m->place[m->at - m->first];
	const uint64_t addr = lua_heap_address(&m->heap, i);
	const enum lua_kind kind = lua_heap_kind(&m->heap, i);
	struct object_root root;
	const uint64_t *value;
	uint32_t label;
	int r;

	if (lua_heap_is_special(&m->heap, i)) /* what it holds are roots */
		return 0;
	r = lua_names_text(&m->names, "[weak key's value]", &label, err);
	for (size_t pos = 0; r == 0 && (value = hash_map_next(&m->pairs, addr, &pos));)
		r = add_edge(m, *value, label, err);
	if (r == 0)
		r = lua_refs_each(refs, addr, kind, err);
	if (r < 0 || kind != LUA_COROUTINE)
		return r;
	r = lua_roots_coroutine(&m->names, addr, m->number, &root, err);
	if (r == 0)
		r = object_graph_root(m->g, &root, err);
	return r < 0 ? r : object_graph_root_edge(m->g, m->at, 0, err);
}

static int walk(struct making *m, struct error *err)
{
	const struct object_graph_options *o = m->options;
	const struct lua_refs refs = {
		.heap = &m->heap, .names = &m->names, .reference = add_edge, .arg = m
	};
	int r = 0;

	for (m->at = m->first; r == 0 && !m->g->partial && m->at < m->g->n_nodes; m->at++) {
		r = look_at(m, &refs, err);
		if (m->at % PROGRESS_EVERY == PROGRESS_EVERY - 1 && o && o->progress &&
		    o->progress(o->arg,
		                (double)(m->at - m->first) / (double)(m->heap.n_objects + 1)))
			m->g->partial = true;
	}
	return r;
}

static void account(struct making *m)
{
	uint64_t bytes = 0;
	const size_t n = m->g->n_nodes - m->first;

	for (size_t v = m->first; v < m->g->n_nodes; v++)
		bytes += object_graph_size(m->g, (uint32_t)v);
	m->g->own_live_bytes += m->heap.total;
	m->g->own_live_objects += m->heap.n_objects;
	if (m->g->partial || m->heap.sum < bytes)
		return;
	m->g->garbage_bytes += m->heap.sum - bytes;
	m->g->garbage_objects += m->heap.n_objects - n;
}

/* Bytes of object @i as it was; one that was not reached is not missed either. */
static uint64_t was(const struct making *m, size_t i)
{
	return m->node[i] == NO_NODE ? 0 : object_graph_size(m->g, m->node[i]);
}

/* What came, went, or became another size. */
static uint64_t changes(struct making *m, struct lua_heap *after)
{
	uint64_t bytes = 0;

	for (size_t i = 0, k = 0; i < m->heap.n_objects || k < after->n_objects;) {
		const uint64_t a = i < m->heap.n_objects ? m->heap.objects[i] >> 8 : UINT64_MAX;
		const uint64_t b = k < after->n_objects ? after->objects[k] >> 8 : UINT64_MAX;
		const uint64_t old = a <= b ? was(m, i) : 0;
		const uint64_t now = b <= a ? lua_heap_size(after, b, lua_heap_kind(after, k)) : 0;

		if (a != b || old)
			bytes += old > now ? old - now : now - old;
		i += a <= b;
		k += b <= a;
	}
	return bytes;
}

/* A process that runs tears its lists: until they add up. */
static int open_heap(struct peek *p, const struct lua_state *s, uint64_t most, bool is_moving,
                     struct lua_heap *ret, struct error *err)
{
	struct lua_state now = *s;
	int r = -ENOTSUP;

	for (int i = 0; r == -ENOTSUP && i < (is_moving ? TRIES : 1); i++) {
		if (is_moving) {
			peek_forget(p);
			now.bytes = peek_word(p, s->global + 16) + peek_word(p, s->global + 24);
		}
		r = lua_heap_open(p, &now, most, ret, err);
	}
	if (r == -ENOTSUP && is_moving && lua_layout_find(p, s)) {
		error_set(err, EAGAIN, "the Lua inside changes too fast to be read as it runs");
		error_hint(err, "without --no-stop a copy is read; --stop stops it meanwhile");
	}
	return r == -ENOTSUP && is_moving ? -EAGAIN : r;
}

/* Of a process that runs: the lists once more. */
static int compare(struct making *m, const struct lua_state *s, uint64_t most, struct error *err)
{
	cleanup(image_closep) struct image *i = NULL;
	cleanup(peek_close) struct peek p = { 0 };
	cleanup(lua_heap_close) struct lua_heap after = { 0 };
	struct lua_state now = *s;
	int r = m->options->fresh(m->options->fresh_arg, &i, err);

	if (r == 0)
		r = peek_open_image(&p, i, err);
	if (r < 0)
		return r;
	m->g->is_moving = true;
	r = open_heap(&p, &now, 2 * most, true, &after, err);
	m->g->changed_bytes += r == 0 ? changes(m, &after) : m->heap.total;
	return r == -EAGAIN ? 0 : r; /* torn */
}

int lua_graph_add(const struct lua_graph_from *from, const struct lua_state *s, size_t number,
                  struct object_graph *to, struct error *err)
{
	const struct object_graph_options *o = from->options;
	cleanup(making_clear) struct making m = { .g = to, .options = o, .number = number };
	const struct lua_roots_sink sink = { add_root, add_root_edge, &m };
	int r = open_heap(from->peek, s, from->bytes, o && o->fresh, &m.heap, err);

	if (r < 0)
		return r;
	lua_names_open(&m.names, &m.heap, to, from->image);
	m.first = (uint32_t)to->n_nodes;
	m.node = malloc((m.heap.n_objects + 1) * sizeof(*m.node));
	if (!m.node)
		return error_oom(err);
	memset(m.node, 0xff, (m.heap.n_objects + 1) * sizeof(*m.node));
	if (m.heap.has_ephemerons)
		r = find_pairs(&m, err);
	if (r == 0)
		r = lua_roots_each(&m.heap, &m.names, number, &sink, err);
	if (r == 0)
		r = walk(&m, err);
	if (r == 0)
		account(&m);
	if (r == 0 && from->account && !to->partial)
		r = lua_account_add(from->account, &m.heap, m.node, err);
	if (r == 0 && o && o->fresh)
		r = compare(&m, s, from->bytes, err);
	return r;
}

/* ---- all of a process ---- */

static uint64_t memory_of(const struct image *i)
{
	uint64_t bytes = 0;

	for (size_t k = 0; k < image_n_segments(i); k++)
		bytes += image_segment(i, k)->end - image_segment(i, k)->start;
	return bytes;
}

static bool is_known(const struct lua_state *s)
{
	return !strcmp(s->layout->version, "5.3") || !strcmp(s->layout->version, "5.4");
}

/* None that is known: what there is instead. */
static int refuse(const struct image *i, const char *version, struct error *err)
{
	if (!strcmp(version, "Lua 5.3") || !strcmp(version, "Lua 5.4"))
		error_set(err, ENOTSUP, "%s has %s inside, but no state of it was found",
		          image_name(i), version);
	else
		error_set(err, ENOTSUP, "%s has %s inside, which refs does not know yet",
		          image_name(i), version);
	return error_hint(err,
	                  "refs is for Lua 5.3 and 5.4, and Go 1.17 to 1.26; `memwho PID` shows "
	                  "what the memory of any process is");
}

static int by_address(const void *a, const void *b)
{
	const struct lua_state *x = a, *y = b;

	return x->global < y->global ? -1 : x->global > y->global;
}

/* 1; 0: none of them is one. */
static int add_all(struct image *i, struct peek *p, const struct lua_find *found,
                   const struct object_graph_options *o, struct object_graph *g, struct error *err)
{
	cleanup(lua_account_clear) struct lua_account account = { 0 };
	const struct lua_graph_from from = { p, i, memory_of(i), o,
		                             o && o->account ? &account : NULL };
	size_t number = 0;
	int r = 0;

	for (size_t k = 0; r == 0 && k < found->n_items; k++) {
		const struct lua_state *s = &found->items[k];

		r = is_known(s) ? lua_graph_add(&from, s, number, g, err) : 0;
		number += is_known(s) && r == 0;
		/* its objects do not add up either: what is left of one that was closed */
		if (s->is_doubtful && (r == -ENOTSUP || r == -EAGAIN))
			r = 0;
	}
	if (r == 0 && !number)
		return 0;
	if (r == 0)
		r = object_graph_finish(g, err);
	if (r == 0 && from.account && !g->partial)
		r = lua_account_finish(&account, image_target(i), o->account, err);
	return r < 0 ? r : 1;
}

static const struct lua_state *first_known(const struct lua_find *found)
{
	for (size_t i = 0; i < found->n_items; i++) {
		if (is_known(&found->items[i]))
			return &found->items[i];
	}
	return NULL;
}

int lua_graph_make(struct image *i, const struct object_graph_options *o, struct object_graph *ret,
                   struct error *err)
{
	cleanup(lua_find_clear) struct lua_find found = { 0 };
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(peek_close) struct peek p = { 0 };
	const struct lua_state *known;
	char other[32] = "";
	int r = peek_open_image(&p, i, err);

	if (r == 0)
		r = lua_find_image(i, &p, true, &found, other, sizeof(other), err);
	if (r < 0)
		return r;
	/* they have the same numbers when they are looked at again */
	if (found.n_items)
		qsort(found.items, found.n_items, sizeof(*found.items), by_address);
	known = first_known(&found);
	if (!known && found.n_items)
		snprintf(other, sizeof(other), "Lua %s", found.items[0].layout->version);
	if (!known)
		return other[0] ? refuse(i, other, err) : 0;
	r = add_all(i, &p, &found, o, &g, err);
	if (r <= 0)
		return r;
	g.is_scattered = true;
	snprintf(g.runtime, sizeof(g.runtime), "Lua %s", known->layout->version);
	*ret = g;
	g = (struct object_graph){ 0 };
	return 1;
}

int lua_graph_is_there(struct image *i, char *buf, size_t size)
{
	cleanup(lua_find_clear) struct lua_find found = { 0 };
	cleanup(peek_close) struct peek p = { 0 };
	const struct lua_state *known;
	char other[32] = "";
	struct error unused;

	if (peek_open_image(&p, i, &unused) < 0 ||
	    lua_find_image(i, &p, false, &found, other, sizeof(other), &unused) < 0)
		return 0;
	known = first_known(&found);
	if (!known || known->is_doubtful)
		return 0;
	snprintf(buf, size, "Lua %s", known->layout->version);
	return 1;
}
