/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/dominators.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/spare.h"

enum { NO_TIER = 255, AHEAD = 16 };

void dominators_drop_order(struct dominators *d)
{
	spare_give(d->order);
	spare_give(d->end);
	d->order = d->end = NULL;
}

void dominators_clear(struct dominators *d)
{
	dominators_drop_order(d);
	spare_give(d->idom);
	free(d->tier);
	free(d->kept);
	*d = (struct dominators){ 0 };
}

/* ---- arrays of one number for each vertex, which the steps hand to each other ---- */

struct work {
	const struct object_graph *g;
	struct dominators *d;
	uint32_t first_leaf; /* node: it and those behind it refer to nothing */

	/* numbers: depth first, from 1, the common root's */
	uint32_t n;
	uint32_t *number; /* of a vertex; 0: not reached */
	uint32_t *vertex; /* of a number */
	uint32_t *parent; /* of a number; later its dominator */
	uint32_t *semi;   /* of a number: first its references that are none of the tree, a list
	                   * of others + 1; then its semi-dominator */
	uint32_t *ancestor, *least;
	struct other {
		uint32_t from, next; /* number; index + 1 */
	} * others;                  /* references that are none of the tree */
	size_t n_others, cap_others;
};

static void work_clear(struct work *w)
{
	uint32_t *const all[] = { w->number, w->vertex, w->parent, w->semi, w->ancestor, w->least };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		spare_give(all[i]);
	free(w->others);
}

static int lend(struct work *w, uint32_t **ret, struct error *err)
{
	*ret = spare_take((w->d->n + 2) * sizeof(**ret));
	return *ret ? 0 : error_oom(err);
}

static int lend_zeros(struct work *w, uint32_t **ret, struct error *err)
{
	int r = lend(w, ret, err);

	if (r == 0)
		memset(*ret, 0, (w->d->n + 2) * sizeof(**ret));
	return r;
}

static void give_back(uint32_t **array)
{
	spare_give(take_ptr(*array));
}

/* ---- depth first ---- */

/* Where the references of a vertex lead: every @step'th word. */
struct successors {
	const uint32_t *to;
	uint32_t n, step;
};

static struct successors successors_of(const struct object_graph *g, uint32_t v)
{
	const struct object_root *r;

	if (v < g->n_nodes && !g->n_edges)
		return (struct successors){ NULL, 0, 1 };
	if (v < g->n_nodes)
		return (struct successors){ g->to + g->first_edge[v],
			                    g->first_edge[v + 1] - g->first_edge[v], 1 };
	r = &g->roots[v - g->n_nodes];
	if (!r->n_edges)
		return (struct successors){ NULL, 0, 1 };
	return (struct successors){ &g->root_edges[r->first_edge].to, r->n_edges,
		                    sizeof(struct object_edge) / sizeof(uint32_t) };
}

static void number_vertex(struct work *w, uint32_t v, uint32_t parent)
{
	w->number[v] = ++w->n;
	w->vertex[w->n] = v;
	w->parent[w->n] = parent;
}

/* From number @from to what has number @to already. */
static int add_other(struct work *w, uint32_t from, uint32_t to, struct error *err)
{
	int r;

	if (from == to || w->parent[to] == from)
		return 0;
	r = array_reserve(&w->others, &w->cap_others, w->n_others + 1, err);
	if (r < 0)
		return r;
	w->others[w->n_others++] = (struct other){ from, w->semi[to] };
	w->semi[to] = (uint32_t)w->n_others;
	return 0;
}

/* Numbers and references of those that come next, asked for from memory early: they lie anywhere.
 */
static void look_ahead(const struct work *w, struct successors s)
{
	for (uint32_t k = 0; k < s.n && k < AHEAD; k++) {
		const uint32_t to = s.to[(size_t)k * s.step];

		__builtin_prefetch(&w->number[to]);
		if (to < w->first_leaf)
			__builtin_prefetch(&w->g->first_edge[to]);
	}
}

/* What root @root reaches and none before did. Numbers below @first are of a stronger tier.
 * @next: of each number, which of its references is the next to be taken. */
static int number_from(struct work *w, size_t root, uint32_t first, uint32_t *next,
                       struct error *err)
{
	uint32_t at;
	int r = 0;

	number_vertex(w, (uint32_t)(w->g->n_nodes + root), 1);
	at = w->n;
	next[at] = 0;
	while (r == 0 && at > 1) {
		const struct successors s = successors_of(w->g, w->vertex[at]);
		uint32_t k = next[at], to = 0;

		if (!k)
			look_ahead(w, s);
		for (; r == 0 && k < s.n; k++) {
			to = s.to[(size_t)k * s.step];
			if (!w->number[to] && to < w->first_leaf)
				break;
			if (!w->number[to])
				number_vertex(w, to, at);
			else if (w->number[to] >= first)
				r = add_other(w, at, w->number[to], err);
		}
		next[at] = k + 1;
		if (k >= s.n) {
			at = w->parent[at];
			continue;
		}
		number_vertex(w, to, at);
		at = w->n;
		next[at] = 0;
	}
	return r;
}

/* Of every node: the tier within whose numbers its own is. @last: the last number of each tier. */
static void find_tiers(const struct work *w, const uint32_t last[OBJECT_TIERS])
{
	for (size_t v = 0; v < w->d->n_nodes; v++) {
		const uint32_t number = w->number[v];
		uint8_t tier = 0;

		if (!number)
			continue;
		while (number > last[tier])
			tier++;
		w->d->tier[v] = tier;
	}
}

/* The strongest tier first: what it reaches is its own. */
static int number_all(struct work *w, struct error *err)
{
	uint32_t *next = NULL, last[OBJECT_TIERS];
	int r = lend_zeros(w, &w->number, err);

	if (r == 0)
		r = lend(w, &w->vertex, err);
	if (r == 0)
		r = lend(w, &w->parent, err);
	if (r == 0)
		r = lend_zeros(w, &w->semi, err);
	if (r == 0)
		r = lend(w, &next, err);
	if (r < 0)
		return r;
	number_vertex(w, (uint32_t)w->d->n - 1, 0);
	for (unsigned tier = 0; r == 0 && tier < OBJECT_TIERS; tier++) {
		const uint32_t first = w->n + 1;

		for (size_t k = 0; r == 0 && k < w->g->n_roots; k++) {
			if (w->g->roots[k].tier == tier)
				r = number_from(w, k, first, next, err);
		}
		last[tier] = w->n;
	}
	give_back(&next);
	if (r < 0)
		return r;
	find_tiers(w, last);
	give_back(&w->number);
	return r;
}

/* ---- semi-dominators ---- */

/* The least semi-dominator on the way from @v up to what was linked last (numbers from @linked on
 * are in the forest), the way made short. It is walked without a stack: up by turning it around. */
static uint32_t evaluate(struct work *w, uint32_t v, uint32_t linked)
{
	uint32_t *const ancestor = w->ancestor, *const least = w->least;
	uint32_t below = 0, u = v, top, best;

	if (v < linked)
		return v;
	while (ancestor[u] >= linked) {
		const uint32_t above = ancestor[u];

		ancestor[u] = below;
		below = u;
		u = above;
	}
	top = ancestor[u];
	best = least[u];
	while (below) {
		u = below;
		below = ancestor[u];
		ancestor[u] = top;
		if (least[u] < best)
			best = least[u];
		least[u] = best;
	}
	return best;
}

static int find_semi(struct work *w, struct error *err)
{
	int r = lend(w, &w->ancestor, err);

	if (r == 0)
		r = lend(w, &w->least, err);
	if (r < 0)
		return r;
	memcpy(w->ancestor, w->parent, ((size_t)w->n + 1) * sizeof(*w->ancestor));
	for (uint32_t i = w->n; i > 1; i--) {
		uint32_t semi = w->parent[i];

		for (uint32_t k = w->semi[i]; k; k = w->others[k - 1].next) {
			uint32_t u = evaluate(w, w->others[k - 1].from, i + 1);

			if (u < semi)
				semi = u;
		}
		w->semi[i] = w->least[i] = semi;
	}
	give_back(&w->ancestor);
	give_back(&w->least);
	free(w->others);
	w->others = NULL;
	return 0;
}

/* Parents become dominators. */
static void find_idom(struct work *w)
{
	w->parent[1] = 1;
	for (uint32_t i = 2; i <= w->n; i++) {
		uint32_t x = w->parent[i];

		while (x > w->semi[i])
			x = w->parent[x];
		w->parent[i] = x;
	}
	give_back(&w->semi);
}

/* ---- the tree ---- */

/* Who stands where: @count of a number: itself and what is below; @behind: the place behind. */
static void find_places(const struct work *w, uint32_t *count, uint32_t *behind)
{
	for (uint32_t i = 1; i <= w->n; i++)
		count[i] = 1;
	for (uint32_t i = w->n; i > 1; i--)
		count[w->parent[i]] += count[i];
	behind[1] = 1;
	for (uint32_t i = 2; i <= w->n; i++) {
		uint32_t *at = &behind[w->parent[i]];

		behind[i] = *at + 1;
		*at += count[i];
	}
}

static int make_tree(struct work *w, struct error *err)
{
	struct dominators *d = w->d;
	uint32_t *count = NULL, *behind = NULL;
	int r = lend(w, &count, err);

	if (r == 0)
		r = lend(w, &behind, err);
	if (r == 0)
		r = lend(w, &d->idom, err);
	if (r == 0) {
		find_places(w, count, behind);
		memset(d->idom, 0xff, d->n * sizeof(*d->idom));
		for (uint32_t i = 1; i <= w->n; i++) {
			if (i + AHEAD <= w->n)
				__builtin_prefetch(&d->idom[w->vertex[i + AHEAD]], 1);
			d->idom[w->vertex[i]] = w->vertex[w->parent[i]];
		}
		d->order = take_ptr(w->parent);
		for (uint32_t i = 1; i <= w->n; i++)
			d->order[behind[i] - count[i]] = w->vertex[i];
		d->end = take_ptr(w->vertex);
		for (uint32_t i = 1; i <= w->n; i++)
			d->end[behind[i] - count[i]] = behind[i];
		d->n_order = w->n;
	}
	spare_give(count);
	spare_give(behind);
	return r;
}

static void sum_up(const struct object_graph *g, struct dominators *d)
{
	for (size_t k = 1; k < d->n_order;) {
		struct dominators_kept *kept = NULL;
		const size_t end = d->end[k];

		if (d->order[k] >= d->n_nodes)
			kept = &d->kept[d->order[k] - d->n_nodes];
		for (k = kept ? k + 1 : end; k < end; k++) {
			dominators_look_ahead(g, d, k);
			kept->bytes += object_graph_size(g, d->order[k]);
			kept->objects++;
		}
	}
}

static int prepare(const struct object_graph *g, struct dominators *d, struct error *err)
{
	d->n_nodes = g->n_nodes;
	d->n_roots = g->n_roots;
	d->n = g->n_nodes + g->n_roots + 1;
	if (d->n >= UINT32_MAX)
		return error_set(err, E2BIG, "too many objects and roots");
	d->tier = malloc(g->n_nodes + 1);
	d->kept = calloc(g->n_roots + 1, sizeof(*d->kept));
	if (!d->tier || !d->kept)
		return error_oom(err);
	memset(d->tier, NO_TIER, g->n_nodes + 1);
	return 0;
}

int dominators_compute(const struct object_graph *g, struct dominators *ret, struct error *err)
{
	cleanup(dominators_clear) struct dominators d = { 0 };
	cleanup(work_clear) struct work w = { .g = g,
		                              .d = &d,
		                              .first_leaf = object_graph_first_leaf(g) };
	int r = prepare(g, &d, err);

	if (r == 0)
		r = number_all(&w, err);
	if (r == 0)
		r = find_semi(&w, err);
	if (r < 0)
		return r;
	find_idom(&w);
	r = make_tree(&w, err);
	if (r < 0)
		return r;
	sum_up(g, &d);
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
