/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/object_graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "base/spare.h"

enum { FIRST_NODES = 1024 };

void object_graph_clear(struct object_graph *g)
{
	void *const own[] = { g->address, g->size_code,    g->type,         g->first_edge,
		              g->to,      g->label_code,   g->roots,        g->root_edges,
		              g->sizes,   g->labels,       g->far_sizes,    g->far_labels,
		              g->births,  g->birth_stacks, g->birth_frames, g->chars,
		              g->texts };

	if (g->mapped)
		munmap(g->mapped, g->mapped_bytes);
	for (size_t i = 0; !g->mapped && i < ARRAY_SIZE(own); i++)
		free(own[i]);
	free(g->text_codes);
	hash_map_clear(&g->size_codes);
	hash_map_clear(&g->index);
	spare_drop();
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

static int grow_nodes(struct object_graph *g, size_t cap, struct error *err)
{
	int r = grow(&g->address, cap, sizeof(*g->address), err);
	if (r == 0)
		r = grow(&g->size_code, cap, sizeof(*g->size_code), err);
	if (r == 0)
		r = grow(&g->type, cap, sizeof(*g->type), err);
	if (r == 0)
		r = grow(&g->first_edge, cap + 1, sizeof(*g->first_edge), err);
	if (r == 0)
		g->cap_nodes = cap;
	return r;
}

void object_graph_expect(struct object_graph *g, size_t n)
{
	struct error unused = { 0 };

	if (n > g->cap_nodes && n < UINT32_MAX)
		grow_nodes(g, n, &unused);
}

static int reserve_nodes(struct object_graph *g, struct error *err)
{
	if (g->n_nodes < g->cap_nodes)
		return 0;
	return grow_nodes(g, g->cap_nodes ? g->cap_nodes + g->cap_nodes / 2 : FIRST_NODES, err);
}

static int add_far(struct object_far **items, size_t *n, size_t *cap, size_t of, uint64_t value,
                   struct error *err)
{
	int r = array_reserve(items, cap, *n + 1, err);

	if (r == 0)
		(*items)[(*n)++] = (struct object_far){ .of = (uint32_t)of, .value = value };
	return r;
}

uint64_t object_graph_far(const struct object_far *items, size_t n, uint32_t of)
{
	size_t at = partition_point(n, i, items[i].of < of);

	return at < n && items[at].of == of ? items[at].value : 0;
}

/* The size's number of two bytes, made when it is met first. */
static int code_of_size(struct object_graph *g, uint64_t size, uint16_t *ret, struct error *err)
{
	const size_t at = size / 16 % ARRAY_SIZE(g->sizes_lately);
	uint64_t *found;
	int r;

	if (size && size == g->sizes_lately[at].size) {
		*ret = g->sizes_lately[at].code;
		return 0;
	}
	found = hash_map_get(&g->size_codes, size);
	if (!found && g->n_sizes == OBJECT_FAR) {
		*ret = OBJECT_FAR;
		return add_far(&g->far_sizes, &g->n_far_sizes, &g->cap_far_sizes, g->n_nodes, size,
		               err);
	}
	*ret = found ? (uint16_t)*found : (uint16_t)g->n_sizes;
	if (!found) {
		r = array_reserve(&g->sizes, &g->cap_sizes, g->n_sizes + 1, err);
		if (r == 0)
			r = hash_map_add(&g->size_codes, size, g->n_sizes, err);
		if (r < 0)
			return r;
		g->sizes[g->n_sizes++] = size;
	}
	g->sizes_lately[at].size = size;
	g->sizes_lately[at].code = *ret;
	return 0;
}

int object_graph_node(struct object_graph *g, uint64_t address, uint64_t size, struct error *err)
{
	uint16_t code;
	int r;

	if (g->n_nodes >= UINT32_MAX - 1)
		return error_set(err, E2BIG, "more than 4 thousand million objects");
	r = reserve_nodes(g, err);
	if (r == 0)
		r = code_of_size(g, size, &code, err);
	if (r < 0)
		return r;
	g->address[g->n_nodes] = address;
	g->size_code[g->n_nodes] = code;
	g->type[g->n_nodes++] = 0;
	return 0;
}

uint32_t object_graph_find(const struct object_graph *g, uint64_t addr)
{
	for (size_t i = 0; i < g->n_nodes; i++) {
		if (addr == g->address[i])
			return (uint32_t)i;
		if (!g->is_scattered && addr > g->address[i] &&
		    addr - g->address[i] < object_graph_size(g, (uint32_t)i))
			return (uint32_t)i;
	}
	return UINT32_MAX;
}

/* ---- edges ---- */

static int reserve_edges(struct object_graph *g, struct error *err)
{
	size_t cap = g->cap_edges ? g->cap_edges + g->cap_edges / 2 : FIRST_NODES;
	int r;

	if (g->n_edges < g->cap_edges)
		return 0;
	if (g->n_edges >= UINT32_MAX)
		return error_set(err, E2BIG, "more than 4 thousand million references");
	r = grow(&g->to, cap, sizeof(*g->to), err);
	if (r == 0)
		r = grow(&g->label_code, cap, sizeof(*g->label_code), err);
	if (r == 0)
		g->cap_edges = cap;
	return r;
}

/* The label's number of two bytes, made when it is met first; there may be none any more. */
static int make_label_code(struct object_graph *g, uint32_t label, uint16_t *ret, struct error *err)
{
	int r;

	*ret = OBJECT_FAR;
	if (g->n_labels == OBJECT_FAR || label >= g->n_texts + 1)
		return 0;
	r = array_reserve(&g->labels, &g->cap_labels, g->n_labels + 1, err);
	if (r == 0)
		r = array_reserve(&g->text_codes, &g->cap_text_codes, (size_t)label + 1, err);
	if (r < 0)
		return r;
	while (g->n_text_codes <= label)
		g->text_codes[g->n_text_codes++] = 0;
	*ret = (uint16_t)g->n_labels;
	g->labels[g->n_labels++] = label;
	g->text_codes[label] = (uint16_t)(*ret + 1);
	return 0;
}

static inline int code_of_label(struct object_graph *g, uint32_t label, uint16_t *ret,
                                struct error *err)
{
	if (label >= g->n_text_codes || !g->text_codes[label])
		return make_label_code(g, label, ret, err);
	*ret = (uint16_t)(g->text_codes[label] - 1);
	return 0;
}

int object_graph_new_edge(struct object_graph *g, uint32_t from, uint32_t to, uint32_t label,
                          struct error *err)
{
	uint16_t code;
	int r;

	if (from >= g->n_nodes || from + 1 < g->n_started)
		return error_set(err, EINVAL, "edges out of order");
	r = reserve_edges(g, err);
	if (r < 0)
		return r;
	r = code_of_label(g, label, &code, err);
	if (r == 0 && code == OBJECT_FAR)
		r = add_far(&g->far_labels, &g->n_far_labels, &g->cap_far_labels, g->n_edges, label,
		            err);
	if (r < 0)
		return r;
	object_graph_put_edge(g, from, to, code);
	return 0;
}

int object_graph_set_label(struct object_graph *g, size_t edge, uint32_t label, struct error *err)
{
	uint16_t code;
	int r = edge < g->n_edges ? code_of_label(g, label, &code, err)
	                          : error_set(err, EINVAL, "no such reference");

	/* without a number it stays without a label */
	if (r == 0 && code != OBJECT_FAR && g->label_code[edge] != OBJECT_FAR &&
	    !object_graph_label(g, (uint32_t)edge))
		g->label_code[edge] = code;
	return r;
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
		if (g->to[i] >= g->n_nodes)
			return error_set(err, EBADMSG,
			                 "a reference to an object that is not there");
	}
	for (size_t i = 0; i < g->n_root_edges; i++) {
		if (g->root_edges[i].to >= g->n_nodes)
			return error_set(err, EBADMSG, "a root of an object that is not there");
	}
	return 0;
}

uint32_t object_graph_first_leaf(const struct object_graph *g)
{
	return (uint32_t)partition_point(g->n_nodes, v, g->first_edge[v] < g->n_edges);
}

/* @items of @each bytes, one for each node, behind their nodes. */
static int move(void *items, size_t each, const struct object_graph *g, const uint32_t *turn,
                struct error *err)
{
	char **from = items, *to = spare_take(g->cap_nodes * each);

	if (!to)
		return error_oom(err);
	for (size_t i = 0; i < g->n_nodes; i++)
		memcpy(to + turn[i] * each, *from + i * each, each);
	/* nobody will want others of another size */
	if (each == sizeof(*turn))
		spare_give(*from);
	else
		free(*from);
	*from = to;
	return 0;
}

static int by_node(const void *a, const void *b)
{
	const struct object_far *x = a, *y = b;

	return x->of < y->of ? -1 : x->of > y->of;
}

int object_graph_reorder(struct object_graph *g, const uint32_t *turn, struct error *err)
{
	int r;

	for (size_t i = 0; i < g->n_nodes; i++) {
		if (turn[i] >= g->n_nodes)
			return error_set(err, EINVAL, "no such number");
	}
	r = move(&g->address, sizeof(*g->address), g, turn, err);
	if (r == 0)
		r = move(&g->size_code, sizeof(*g->size_code), g, turn, err);
	if (r == 0)
		r = move(&g->type, sizeof(*g->type), g, turn, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < g->n_edges; i++)
		g->to[i] = turn[g->to[i]];
	for (size_t i = 0; i < g->n_root_edges; i++)
		g->root_edges[i].to = turn[g->root_edges[i].to];
	for (size_t i = 0; i < g->n_births; i++) {
		if (g->births[i].node < g->n_nodes)
			g->births[i].node = turn[g->births[i].node];
	}
	for (size_t i = 0; i < g->n_far_sizes; i++)
		g->far_sizes[i].of = turn[g->far_sizes[i].of];
	if (g->n_far_sizes)
		qsort(g->far_sizes, g->n_far_sizes, sizeof(*g->far_sizes), by_node);
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

/* ---- births ---- */

int object_graph_birth_stack(struct object_graph *g, const uint32_t *frames, size_t n,
                             uint32_t *ret, struct error *err)
{
	int r = array_reserve(&g->birth_frames, &g->cap_birth_frames, g->n_birth_frames + n + 1,
	                      err);

	if (r == 0)
		r = array_reserve(&g->birth_stacks, &g->cap_birth_stacks, g->n_birth_stacks + 1,
		                  err);
	if (r < 0)
		return r;
	if (n)
		memcpy(g->birth_frames + g->n_birth_frames, frames, n * sizeof(*frames));
	g->birth_stacks[g->n_birth_stacks] =
		(struct object_birth_stack){ (uint32_t)g->n_birth_frames, (uint32_t)n };
	g->n_birth_frames += n;
	*ret = (uint32_t)g->n_birth_stacks++;
	return 0;
}

int object_graph_birth(struct object_graph *g, const struct object_birth *birth, struct error *err)
{
	int r = array_reserve(&g->births, &g->cap_births, g->n_births + 1, err);

	if (r == 0)
		g->births[g->n_births++] = *birth;
	return r;
}
