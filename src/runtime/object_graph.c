/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/object_graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/array.h"

enum { FIRST_NODES = 1024 };

void object_graph_clear(struct object_graph *g)
{
	if (g->mapped) {
		munmap(g->mapped, g->mapped_bytes);
		hash_map_clear(&g->index);
		*g = (struct object_graph){ 0 };
		return;
	}
	free(g->address);
	free(g->size);
	free(g->type);
	free(g->first_edge);
	free(g->edges);
	free(g->roots);
	free(g->root_edges);
	free(g->big);
	free(g->chars);
	free(g->texts);
	hash_map_clear(&g->index);
	*g = (struct object_graph){ 0 };
}

/* ---- texts ---- */

const char *object_graph_name(const struct object_graph *g, uint32_t id)
{
	return id < g->n_texts ? g->chars + g->texts[id] : "";
}

static int add_text(struct object_graph *g, const char *s, size_t len, uint32_t *ret,
                    struct error *err)
{
	int r;

	if (g->n_chars + len + 1 > UINT32_MAX)
		return error_set(err, E2BIG, "too many names");
	r = array_reserve(&g->chars, &g->cap_chars, g->n_chars + len + 1, err);
	if (r == 0)
		r = array_reserve(&g->texts, &g->cap_texts, g->n_texts + 1, err);
	if (r < 0)
		return r;
	g->texts[g->n_texts] = (uint32_t)g->n_chars;
	if (len)
		memcpy(g->chars + g->n_chars, s, len);
	g->chars[g->n_chars + len] = '\0';
	g->n_chars += len + 1;
	*ret = (uint32_t)g->n_texts++;
	return 0;
}

int object_graph_text(struct object_graph *g, const char *s, size_t len, uint32_t *ret,
                      struct error *err)
{
	uint64_t hash, *found;
	size_t pos = 0;
	uint32_t id;
	int r;

	if (!g->n_texts) {
		r = add_text(g, "", 0, &id, err);
		if (r < 0)
			return r;
	}
	len = strnlen(s, len);
	if (!len) {
		*ret = 0;
		return 0;
	}
	hash = hash_bytes(s, len, 0);
	while ((found = hash_map_next(&g->index, hash, &pos)) != NULL) {
		const char *text = object_graph_name(g, (uint32_t)*found);

		if (strncmp(text, s, len) == 0 && !text[len]) {
			*ret = (uint32_t)*found;
			return 0;
		}
	}
	r = add_text(g, s, len, &id, err);
	if (r == 0)
		r = hash_map_add(&g->index, hash, id, err);
	if (r == 0)
		*ret = id;
	return r;
}

/* ---- nodes ---- */

static int grow(void *array, size_t n, size_t each, struct error *err)
{
	void **items = array, *p = reallocarray(*items, n, each);

	if (!p)
		return error_oom(err);
	*items = p;
	return 0;
}

static int reserve_nodes(struct object_graph *g, struct error *err)
{
	size_t cap = g->cap_nodes ? g->cap_nodes + g->cap_nodes / 2 : FIRST_NODES;
	int r;

	if (g->n_nodes < g->cap_nodes)
		return 0;
	r = grow(&g->address, cap, sizeof(*g->address), err);
	if (r == 0)
		r = grow(&g->size, cap, sizeof(*g->size), err);
	if (r == 0)
		r = grow(&g->type, cap, sizeof(*g->type), err);
	if (r == 0)
		r = grow(&g->first_edge, cap + 1, sizeof(*g->first_edge), err);
	if (r == 0)
		g->cap_nodes = cap;
	return r;
}

int object_graph_node(struct object_graph *g, uint64_t address, uint64_t size, struct error *err)
{
	int r;

	if (g->n_nodes >= UINT32_MAX - 1)
		return error_set(err, E2BIG, "more than 4 thousand million objects");
	r = reserve_nodes(g, err);
	if (r == 0 && size >= UINT32_MAX) {
		r = array_reserve(&g->big, &g->cap_big, g->n_big + 1, err);
		if (r == 0)
			g->big[g->n_big++] = (struct object_big){ .node = (uint32_t)g->n_nodes,
				                                  .size = size };
	}
	if (r < 0)
		return r;
	g->address[g->n_nodes] = address;
	g->size[g->n_nodes] = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
	g->type[g->n_nodes++] = 0;
	return 0;
}

uint64_t object_graph_size(const struct object_graph *g, uint32_t node)
{
	if (g->size[node] != UINT32_MAX)
		return g->size[node];
	for (size_t i = 0; i < g->n_big; i++) {
		if (g->big[i].node == node)
			return g->big[i].size;
	}
	return UINT32_MAX;
}

void object_graph_set_type(struct object_graph *g, uint32_t node, uint32_t type,
                           enum object_typed how)
{
	g->type[node] = type << 2 | (uint32_t)how;
}

uint32_t object_graph_find(const struct object_graph *g, uint64_t addr)
{
	for (size_t i = 0; i < g->n_nodes; i++) {
		if (addr >= g->address[i] &&
		    addr - g->address[i] < object_graph_size(g, (uint32_t)i))
			return (uint32_t)i;
	}
	return UINT32_MAX;
}

/* ---- edges ---- */

int object_graph_edge(struct object_graph *g, uint32_t from, uint32_t to, uint32_t label,
                      struct error *err)
{
	int r;

	if (from >= g->n_nodes || from + 1 < g->n_started)
		return error_set(err, EINVAL, "edges out of order");
	if (g->n_edges >= UINT32_MAX)
		return error_set(err, E2BIG, "more than 4 thousand million references");
	r = array_reserve(&g->edges, &g->cap_edges, g->n_edges + 1, err);
	if (r < 0)
		return r;
	while (g->n_started <= from)
		g->first_edge[g->n_started++] = (uint32_t)g->n_edges;
	g->edges[g->n_edges++] = (struct object_edge){ to, label };
	return 0;
}

int object_graph_finish(struct object_graph *g, struct error *err)
{
	uint32_t unused;
	int r = g->cap_nodes ? 0 : reserve_nodes(g, err);

	if (r == 0)
		r = object_graph_text(g, "", 0, &unused, err); /* id 0 exists */
	if (r < 0)
		return r;
	while (g->n_started <= g->n_nodes)
		g->first_edge[g->n_started++] = (uint32_t)g->n_edges;
	for (size_t i = 0; i < g->n_edges; i++) {
		if (g->edges[i].to >= g->n_nodes)
			return error_set(err, EBADMSG,
			                 "a reference to an object that is not there");
	}
	for (size_t i = 0; i < g->n_root_edges; i++) {
		if (g->root_edges[i].to >= g->n_nodes)
			return error_set(err, EBADMSG, "a root of an object that is not there");
	}
	return 0;
}

/* ---- roots ---- */

int object_graph_root(struct object_graph *g, const struct object_root *root, struct error *err)
{
	int r = array_reserve(&g->roots, &g->cap_roots, g->n_roots + 1, err);

	if (r < 0)
		return r;
	g->roots[g->n_roots] = *root;
	g->roots[g->n_roots].first_edge = (uint32_t)g->n_root_edges;
	g->roots[g->n_roots++].n_edges = 0;
	return 0;
}

int object_graph_root_edge(struct object_graph *g, uint32_t to, uint32_t label, struct error *err)
{
	int r;

	if (!g->n_roots)
		return error_set(err, EINVAL, "an edge without a root");
	r = array_reserve(&g->root_edges, &g->cap_root_edges, g->n_root_edges + 1, err);
	if (r < 0)
		return r;
	g->root_edges[g->n_root_edges++] = (struct object_edge){ to, label };
	g->roots[g->n_roots - 1].n_edges++;
	return 0;
}
