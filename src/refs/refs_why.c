/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "refs/refs.h"

/* One walk backwards from the object: how far each other one is, and which way. */
struct search {
	uint32_t *first, *back; /* who refers to each node */
	uint32_t *away;         /* references from a node to the object; UINT32_MAX: no way */
	uint32_t *next;         /* the edge to take */
	uint32_t *queue;
};

static void search_clear(struct search *s)
{
	free(s->first);
	free(s->back);
	free(s->away);
	free(s->next);
	free(s->queue);
}

static int search_open(struct search *s, const struct object_graph *g, struct error *err)
{
	size_t n = g->n_nodes;

	s->first = calloc(n + 2, sizeof(*s->first));
	s->back = malloc((g->n_edges + 1) * sizeof(*s->back));
	s->away = malloc((n + 1) * sizeof(*s->away));
	s->next = malloc((n + 1) * sizeof(*s->next));
	s->queue = malloc((n + 1) * sizeof(*s->queue));
	if (!s->first || !s->back || !s->away || !s->next || !s->queue)
		return error_oom(err);
	memset(s->away, 0xff, (n + 1) * sizeof(*s->away));
	for (size_t e = 0; e < g->n_edges; e++)
		s->first[g->to[e]]++;
	for (size_t i = 1; i <= n + 1; i++)
		s->first[i] += s->first[i - 1];
	/* ends become starts */
	for (size_t v = n; v-- > 0;) {
		for (uint32_t e = g->first_edge[v + 1]; e-- > g->first_edge[v];)
			s->back[--s->first[g->to[e]]] = (uint32_t)v;
	}
	return 0;
}

static uint32_t edge_to(const struct object_graph *g, uint32_t from, uint32_t to)
{
	uint32_t e = g->first_edge[from];

	while (g->to[e] != to)
		e++;
	return e;
}

static void walk_back(struct search *s, const struct object_graph *g, const uint32_t *nodes,
                      size_t n)
{
	size_t head = 0, tail = 0;

	for (size_t i = 0; i < n; i++) {
		if (s->away[nodes[i]] == 0)
			continue;
		s->away[nodes[i]] = 0;
		s->queue[tail++] = nodes[i];
	}
	while (head < tail) {
		uint32_t v = s->queue[head++];

		for (uint32_t k = s->first[v]; k < s->first[v + 1]; k++) {
			uint32_t from = s->back[k];

			if (s->away[from] != UINT32_MAX)
				continue;
			s->away[from] = s->away[v] + 1;
			s->next[from] = edge_to(g, from, v);
			s->queue[tail++] = from;
		}
	}
}

/* The root's reference that leads there soonest, or NULL. */
static const struct object_edge *way_from(const struct search *s, const struct object_graph *g,
                                          size_t root)
{
	const struct object_root *r = &g->roots[root];
	const struct object_edge *best = NULL;

	for (uint32_t e = 0; e < r->n_edges; e++) {
		const struct object_edge *k = &g->root_edges[r->first_edge + e];

		if (s->away[k->to] != UINT32_MAX && (!best || s->away[k->to] < s->away[best->to]))
			best = k;
	}
	return best;
}

/* Insides are passed over, unless one was asked for. */
static int add_step(const struct object_graph *g, struct refs_chain *c, uint32_t node,
                    uint32_t label, bool is_last, struct error *err)
{
	if ((g->type[node] & 3) == OBJECT_TYPED_PART && !is_last)
		return 0;
	return refs_chain_step(c, node, label, 0, err);
}

/* From the root down; a long way is cut in the middle. */
static int add_chain(const struct search *s, const struct object_graph *g, size_t root,
                     struct refs_chains *to, struct error *err)
{
	enum { SHOWN = 20 };
	const struct object_edge *e = way_from(s, g, root);
	struct refs_chain *c = refs_chains_add(to, (uint32_t)root, err);
	uint32_t n = s->away[e->to] + 1, node = e->to, label = e->label;
	int r = c ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		if (n > 2 * SHOWN && i == SHOWN) {
			c->left_out = n - 2 * SHOWN;
			c->left_out_from = c->n_steps;
		}
		if (n <= 2 * SHOWN || i < SHOWN || i >= n - SHOWN)
			r = add_step(g, c, node, label, i + 1 == n, err);
		if (i + 1 < n) {
			label = object_graph_label(g, s->next[node]);
			node = g->to[s->next[node]];
		}
	}
	return r;
}

struct found {
	size_t root, length;
	unsigned tier;
};

static int shorter(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	/* what a goroutine works on is no reason for it to be kept */
	if (x->tier != y->tier)
		return x->tier < y->tier ? -1 : 1;
	return x->length < y->length ? -1 : x->length > y->length;
}

/* Roots that reach it, the strongest and nearest first: *ret_n of them in @found. */
static void find_roots(const struct search *s, const struct object_graph *g, struct found *found,
                       size_t *ret_n)
{
	size_t n = 0;

	for (size_t k = 0; k < g->n_roots; k++) {
		const struct object_edge *e = way_from(s, g, k);

		if (e)
			found[n++] = (struct found){ k, s->away[e->to], g->roots[k].tier };
	}
	qsort(found, n, sizeof(*found), shorter);
	*ret_n = n;
}

int refs_why_any(const struct object_graph *g, const uint32_t *nodes, size_t n_nodes,
                 size_t max_chains, struct refs_chains *ret, struct error *err)
{
	cleanup(search_clear) struct search s = { 0 };
	cleanup(refs_chains_clear) struct refs_chains to = { 0 };
	cleanup_free struct found *found = calloc(g->n_roots + 1, sizeof(*found));
	size_t n = 0;
	int r = found ? search_open(&s, g, err) : error_oom(err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n_nodes; i++) {
		if (nodes[i] >= g->n_nodes)
			return error_set(err, EINVAL, "no such object");
	}
	walk_back(&s, g, nodes, n_nodes);
	find_roots(&s, g, found, &n);
	for (size_t i = 0; r == 0 && i < n && i < max_chains; i++)
		r = add_chain(&s, g, found[i].root, &to, err);
	if (r < 0)
		return r;
	to.more = n > max_chains ? n - max_chains : 0;
	*ret = to;
	to = (struct refs_chains){ 0 };
	return 0;
}

int refs_why(const struct object_graph *g, uint32_t node, size_t max_chains,
             struct refs_chains *ret, struct error *err)
{
	return refs_why_any(g, &node, 1, max_chains, ret, err);
}
