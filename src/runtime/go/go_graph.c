/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/go/go_module.h"
#include "runtime/go/go_objects.h"
#include "runtime/go/go_roots.h"

enum { NAME_BYTES = 512, PROGRESS_EVERY = 1 << 16 };

struct making {
	struct go_objects o;
	struct go_module module;
	struct object_graph g;
	const struct object_graph_options *options;
	uint32_t *node; /* of each slot; UINT32_MAX: not met */
	uint32_t *slot; /* of each node: the queue of the walk; owned */
	uint32_t *span; /* of each node */
	size_t cap;
	struct hash_map types; /* address of a type -> text */
	uint32_t from;         /* node whose pointers are looked at */
	struct error *err;
};

static void making_clear(struct making *m)
{
	go_objects_close(&m->o);
	object_graph_clear(&m->g);
	free(m->node);
	free(m->slot);
	free(m->span);
	hash_map_clear(&m->types);
}

/* ---- nodes ---- */

static int type_text(struct making *m, uint64_t type, uint32_t *ret)
{
	uint64_t *found = hash_map_get(&m->types, type);
	char name[NAME_BYTES];
	int r;

	if (found) {
		*ret = (uint32_t)*found;
		return 0;
	}
	go_module_type_name(&m->module, type, name, sizeof(name));
	r = object_graph_text(&m->g, name, strlen(name), ret, m->err);
	return r < 0 ? r : hash_map_put(&m->types, type, *ret, m->err);
}

static int set_type(struct making *m, uint32_t node, size_t span, uint32_t slot)
{
	uint64_t type = m->options && m->options->no_types
	                        ? 0
	                        : go_objects_type(&m->o, span, slot - m->o.spans[span].first);
	uint32_t text;
	int r;

	if (!type)
		return 0;
	r = type_text(m, type, &text);
	if (r == 0 && text)
		object_graph_set_type(&m->g, node, text, OBJECT_TYPED);
	return r;
}

static int reserve(struct making *m)
{
	size_t cap = m->cap ? m->cap + m->cap / 2 : 1024;
	uint32_t *slot, *span;

	if (m->g.n_nodes < m->cap)
		return 0;
	slot = reallocarray(m->slot, cap, sizeof(*slot));
	if (!slot)
		return error_oom(m->err);
	m->slot = slot;
	span = reallocarray(m->span, cap, sizeof(*span));
	if (!span)
		return error_oom(m->err);
	m->span = span;
	m->cap = cap;
	return 0;
}

/* The node of the object that @value points into: 1, *ret; 0: no object. */
static int meet(struct making *m, uint64_t value, uint32_t *ret)
{
	size_t span = 0;
	uint32_t slot = go_objects_find(&m->o, value, &span);
	const struct go_objects_span *s;
	int r;

	if (slot == UINT32_MAX)
		return 0;
	*ret = m->node[slot];
	if (*ret != UINT32_MAX)
		return 1;
	s = &m->o.spans[span];
	*ret = m->node[slot] = (uint32_t)m->g.n_nodes;
	r = reserve(m);
	if (r == 0)
		r = object_graph_node(&m->g, go_objects_address(s, slot), s->elemsize, m->err);
	if (r < 0)
		return r;
	m->slot[*ret] = slot;
	m->span[*ret] = (uint32_t)span;
	r = set_type(m, *ret, span, slot);
	return r < 0 ? r : 1;
}

/* ---- roots ---- */

static int add_root(void *arg, const struct object_root *root, struct error *err)
{
	struct making *m = arg;

	return object_graph_root(&m->g, root, err);
}

static int add_root_pointer(void *arg, uint64_t value, const char *label, struct error *err)
{
	struct making *m = arg;
	uint32_t node, text;
	int r = meet(m, value, &node);

	if (r <= 0)
		return r;
	r = object_graph_text(&m->g, label, strlen(label), &text, err);
	return r < 0 ? r : object_graph_root_edge(&m->g, node, text, err);
}

/* ---- the walk ---- */

static int add_pointer(void *arg, uint32_t offset, uint64_t value)
{
	struct making *m = arg;
	uint32_t to;
	int r = meet(m, value, &to);

	return r <= 0 ? r : object_graph_edge(&m->g, m->from, to, 0, m->err);
}

static int walk(struct making *m)
{
	for (m->from = 0; m->from < m->g.n_nodes; m->from++) {
		uint32_t span = m->span[m->from];
		int r = go_objects_scan(&m->o, span, m->slot[m->from] - m->o.spans[span].first,
		                        add_pointer, m);

		if (r < 0)
			return r;
		if (m->from % PROGRESS_EVERY == 0 && m->options && m->options->progress &&
		    m->options->progress(m->options->arg,
		                         (double)m->from / (double)(m->o.taken_objects + 1)))
			break;
	}
	return 0;
}

static void account(struct making *m, const char *version)
{
	uint64_t bytes = 0;

	for (uint32_t v = 0; v < m->g.n_nodes; v++)
		bytes += object_graph_size(&m->g, v);
	m->g.own_live_bytes = m->o.taken_bytes;
	m->g.own_live_objects = m->o.taken_objects;
	if (m->o.taken_bytes > bytes) {
		m->g.garbage_bytes = m->o.taken_bytes - bytes;
		m->g.garbage_objects = m->o.taken_objects > m->g.n_nodes
		                               ? m->o.taken_objects - m->g.n_nodes
		                               : 0;
	}
	snprintf(m->g.runtime, sizeof(m->g.runtime), "%s", version);
}

static int make(struct making *m, struct image *i, const char *version)
{
	const struct go_roots_sink sink = { add_root, add_root_pointer, m };
	int r = go_objects_open(i, &m->module, &m->o, m->err);

	if (r < 0)
		return r;
	m->node = malloc(((size_t)m->o.n_slots + 1) * sizeof(*m->node));
	if (!m->node)
		return error_oom(m->err);
	memset(m->node, 0xff, ((size_t)m->o.n_slots + 1) * sizeof(*m->node));
	r = go_roots_each(&m->o, &m->g, &sink, m->err);
	if (r == 0)
		r = walk(m);
	if (r == 0)
		r = object_graph_finish(&m->g, m->err);
	if (r == 0)
		account(m, version);
	return r;
}

int go_graph_make(struct image *i, const struct object_graph_options *o, struct object_graph *ret,
                  struct error *err)
{
	cleanup(making_clear) struct making m = { .options = o, .err = err };
	char version[64] = "";
	int r = go_module_open(i, &m.module, version, sizeof(version), err);

	if (r == -ENOTSUP && !version[0])
		return 0; /* another runtime's */
	if (r == 0)
		r = make(&m, i, version);
	if (r < 0)
		return r;
	*ret = m.g;
	m.g = (struct object_graph){ 0 };
	return 1;
}
