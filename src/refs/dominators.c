/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/dominators.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { NO_TIER = 255 };

void dominators_clear(struct dominators *d)
{
	free(d->idom);
	free(d->retained);
	free(d->count);
	free(d->order);
	free(d->tier);
	*d = (struct dominators){ 0 };
}

/* ---- tiers ---- */

/* Give @tier to all that node @v reaches and that has none yet. @queue has room
 * for all nodes. */
static void flood(const struct object_graph *g, uint32_t v, uint8_t tier, uint8_t *tiers,
                  uint32_t *queue)
{
	size_t n = 0;

	if (tiers[v] != NO_TIER)
		return;
	tiers[v] = tier;
	queue[n++] = v;
	while (n) {
		uint32_t u = queue[--n];

		for (uint32_t e = g->first_edge[u]; e < g->first_edge[u + 1]; e++) {
			uint32_t to = g->edges[e].to;

			if (tiers[to] != NO_TIER)
				continue;
			tiers[to] = tier;
			queue[n++] = to;
		}
	}
}

static int find_tiers(const struct object_graph *g, struct dominators *d, struct error *err)
{
	cleanup_free uint32_t *queue = malloc((g->n_nodes + 1) * sizeof(*queue));

	d->tier = malloc(g->n_nodes + 1);
	if (!queue || !d->tier)
		return error_oom(err);
	memset(d->tier, NO_TIER, g->n_nodes + 1);
	for (unsigned tier = 0; tier < OBJECT_TIERS; tier++) {
		for (size_t r = 0; r < g->n_roots; r++) {
			const struct object_root *root = &g->roots[r];

			if (root->tier != tier)
				continue;
			for (uint32_t e = 0; e < root->n_edges; e++)
				flood(g, g->root_edges[root->first_edge + e].to, (uint8_t)tier,
				      d->tier, queue);
		}
	}
	return 0;
}

/* ---- successors of a vertex, those that count ---- */

struct successors {
	const struct object_edge *edges;
	size_t n;
	uint8_t tier;
};

static struct successors successors_of(const struct object_graph *g, const struct dominators *d,
                                       uint32_t v)
{
	if (v < d->n_nodes)
		return (struct successors){ g->edges + g->first_edge[v],
			                    g->first_edge[v + 1] - g->first_edge[v], d->tier[v] };
	return (struct successors){ g->root_edges + g->roots[v - d->n_nodes].first_edge,
		                    g->roots[v - d->n_nodes].n_edges,
		                    (uint8_t)g->roots[v - d->n_nodes].tier };
}

/* ---- depth first: numbers from 1, parents by number ---- */

struct numbering {
	uint32_t *number; /* of a vertex; 0: not reached */
	uint32_t *vertex; /* of a number */
	uint32_t *parent; /* of a number */
	size_t n;
};

static void numbering_clear(struct numbering *t)
{
	free(t->number);
	free(t->vertex);
	free(t->parent);
}

static void number_vertex(struct numbering *t, uint32_t v, uint32_t parent)
{
	t->number[v] = (uint32_t)++t->n;
	t->vertex[t->n] = v;
	t->parent[t->n] = parent;
}

static int depth_first(const struct object_graph *g, const struct dominators *d,
                       struct numbering *t, struct error *err)
{
	cleanup_free uint32_t *stack = malloc(d->n * sizeof(*stack));
	cleanup_free uint32_t *next = calloc(d->n, sizeof(*next));
	const uint32_t common = (uint32_t)d->n - 1;

	t->number = calloc(d->n, sizeof(*t->number));
	t->vertex = malloc((d->n + 1) * sizeof(*t->vertex));
	t->parent = malloc((d->n + 1) * sizeof(*t->parent));
	if (!stack || !next || !t->number || !t->vertex || !t->parent)
		return error_oom(err);
	number_vertex(t, common, 0);
	for (size_t r = 0; r < d->n_roots; r++) {
		size_t n = 0;

		stack[n++] = (uint32_t)(d->n_nodes + r);
		number_vertex(t, stack[0], 1);
		while (n) {
			uint32_t v = stack[n - 1];
			struct successors s = successors_of(g, d, v);

			while (next[v] < s.n && (t->number[s.edges[next[v]].to] ||
			                         d->tier[s.edges[next[v]].to] != s.tier))
				next[v]++;
			if (next[v] == s.n) {
				n--;
				continue;
			}
			stack[n] = s.edges[next[v]++].to;
			number_vertex(t, stack[n], t->number[v]);
			n++;
		}
	}
	return 0;
}

/* ---- predecessors, by number ---- */

struct predecessors {
	uint32_t *first, *items;
};

static void predecessors_clear(struct predecessors *p)
{
	free(p->first);
	free(p->items);
}

static int find_predecessors(const struct object_graph *g, const struct dominators *d,
                             const struct numbering *t, struct predecessors *p, struct error *err)
{
	p->first = calloc(t->n + 2, sizeof(*p->first));
	p->items = malloc((g->n_edges + g->n_root_edges + 1) * sizeof(*p->items));
	if (!p->first || !p->items)
		return error_oom(err);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = t->n; i > 1; i--) {
			struct successors s = successors_of(g, d, t->vertex[i]);

			for (size_t e = 0; e < s.n; e++) {
				uint32_t to = s.edges[e].to;

				if (d->tier[to] != s.tier)
					continue;
				if (pass == 0)
					p->first[t->number[to]]++;
				else
					p->items[--p->first[t->number[to]]] = (uint32_t)i;
			}
		}
		/* counts become ends, which the second pass moves to the starts */
		for (size_t i = 1; pass == 0 && i <= t->n + 1; i++)
			p->first[i] += p->first[i - 1];
	}
	return 0;
}

/* ---- semi-dominators ---- */

struct forest {
	uint32_t *ancestor, *semi, *label, *path;
};

static void forest_clear(struct forest *f)
{
	free(f->ancestor);
	free(f->semi);
	free(f->label);
	free(f->path);
}

/* The vertex with the least semi-dominator on the way from @v up to what was
 * linked last (numbers above @linked are in the forest). */
static uint32_t evaluate(struct forest *f, uint32_t v, uint32_t linked)
{
	size_t n = 0;
	uint32_t u = v;

	if (v < linked)
		return v;
	while (f->ancestor[u] >= linked) {
		f->path[n++] = u;
		u = f->ancestor[u];
	}
	while (n--) {
		uint32_t w = f->path[n], a = f->ancestor[w];

		if (f->semi[f->label[a]] < f->semi[f->label[w]])
			f->label[w] = f->label[a];
		f->ancestor[w] = f->ancestor[a];
	}
	return f->label[v];
}

static int make_forest(const struct numbering *t, struct forest *f, struct error *err)
{
	size_t bytes = (t->n + 1) * sizeof(uint32_t);

	f->ancestor = malloc(bytes);
	f->semi = malloc(bytes);
	f->label = malloc(bytes);
	f->path = malloc(bytes);
	if (!f->ancestor || !f->semi || !f->label || !f->path)
		return error_oom(err);
	memcpy(f->ancestor, t->parent, bytes);
	for (size_t i = 0; i <= t->n; i++)
		f->semi[i] = f->label[i] = (uint32_t)i;
	return 0;
}

static void find_semi(const struct numbering *t, const struct predecessors *p, struct forest *f)
{
	for (uint32_t i = (uint32_t)t->n; i > 1; i--) {
		uint32_t least = t->parent[i];

		for (uint32_t k = p->first[i]; k < p->first[i + 1]; k++) {
			uint32_t u = evaluate(f, p->items[k], i + 1);

			if (f->semi[u] < least)
				least = f->semi[u];
		}
		f->semi[i] = least;
	}
}

/* Numbers to vertices: f->path becomes the dominators by number. */
static void find_idom(const struct numbering *t, struct forest *f, struct dominators *d)
{
	uint32_t *idom = f->path;

	idom[1] = 1;
	for (uint32_t i = 2; i <= t->n; i++) {
		idom[i] = t->parent[i];
		while (idom[i] > f->semi[i])
			idom[i] = idom[idom[i]];
	}
	for (size_t i = 1; i <= t->n; i++) {
		d->idom[t->vertex[i]] = t->vertex[idom[i]];
		d->order[i - 1] = t->vertex[i];
	}
	d->n_order = t->n;
}

static void sum_up(const struct object_graph *g, struct dominators *d)
{
	for (size_t k = d->n_order; k > 1; k--) {
		uint32_t v = d->order[k - 1], above = d->idom[v];

		if (v < d->n_nodes) {
			d->retained[v] += object_graph_size(g, v);
			d->count[v]++;
		}
		d->retained[above] += d->retained[v];
		d->count[above] += d->count[v];
	}
}

static int prepare(const struct object_graph *g, struct dominators *d, struct error *err)
{
	d->n_nodes = g->n_nodes;
	d->n_roots = g->n_roots;
	d->n = g->n_nodes + g->n_roots + 1;
	if (d->n >= UINT32_MAX)
		return error_set(err, E2BIG, "too many objects and roots");
	d->idom = malloc(d->n * sizeof(*d->idom));
	d->retained = calloc(d->n, sizeof(*d->retained));
	d->count = calloc(d->n, sizeof(*d->count));
	d->order = malloc(d->n * sizeof(*d->order));
	if (!d->idom || !d->retained || !d->count || !d->order)
		return error_oom(err);
	memset(d->idom, 0xff, d->n * sizeof(*d->idom));
	return find_tiers(g, d, err);
}

static int compute(const struct object_graph *g, struct dominators *d, struct error *err)
{
	cleanup(numbering_clear) struct numbering t = { 0 };
	cleanup(predecessors_clear) struct predecessors p = { 0 };
	cleanup(forest_clear) struct forest f = { 0 };
	int r = depth_first(g, d, &t, err);

	if (r == 0)
		r = find_predecessors(g, d, &t, &p, err);
	if (r == 0)
		r = make_forest(&t, &f, err);
	if (r < 0)
		return r;
	find_semi(&t, &p, &f);
	find_idom(&t, &f, d);
	sum_up(g, d);
	return 0;
}

int dominators_compute(const struct object_graph *g, struct dominators *ret, struct error *err)
{
	cleanup(dominators_clear) struct dominators d = { 0 };
	int r = prepare(g, &d, err);

	if (r == 0)
		r = compute(g, &d, err);
	if (r < 0)
		return r;
	*ret = d;
	d = (struct dominators){ 0 };
	return 0;
}

uint32_t dominators_top(const struct dominators *d, uint32_t v)
{
	const uint32_t common = (uint32_t)d->n - 1;

	while (d->idom[v] != common && d->idom[v] != DOMINATORS_NONE)
		v = d->idom[v];
	return v;
}
