/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/shared.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/spare.h"

enum { LATELY = 256, ROUNDS = 64 };

/* Sets. */
struct joined {
	uint32_t a, b, both;
	bool is_known;
};

void shared_clear(struct shared *s)
{
	spare_give(s->set);
	free(s->sets);
	free(s->roots);
	hash_map_clear(&s->index);
	*s = (struct shared){ 0 };
}

/* ---- sets ---- */

static int intern(struct shared *s, const uint32_t *ids, uint32_t n, bool more, uint32_t *ret,
                  struct error *err)
{
	uint64_t hash = hash_bytes(ids, n * sizeof(*ids), more), *found;
	size_t pos = 0;
	int r;

	while ((found = hash_map_next(&s->index, hash, &pos)) != NULL) {
		const struct shared_set *k = &s->sets[*found];

		if (k->n == n && k->more == more &&
		    memcmp(s->roots + k->first, ids, n * sizeof(*ids)) == 0) {
			*ret = (uint32_t)*found;
			return 0;
		}
	}
	r = array_reserve(&s->sets, &s->cap_sets, s->n_sets + 1, err);
	if (r == 0)
		r = array_reserve(&s->roots, &s->cap_roots, s->n_root_ids + n, err);
	if (r == 0)
		r = hash_map_add(&s->index, hash, s->n_sets, err);
	if (r < 0)
		return r;
	memcpy(s->roots + s->n_root_ids, ids, n * sizeof(*ids));
	s->sets[s->n_sets] = (struct shared_set){ (uint32_t)s->n_root_ids, n, more };
	s->n_root_ids += n;
	*ret = (uint32_t)s->n_sets++;
	return 0;
}

static int join_two(struct shared *s, uint32_t a, uint32_t b, uint32_t *ret, struct error *err)
{
	uint32_t ids[2 * SHARED_MAX_ROOTS];
	const struct shared_set *x = &s->sets[a], *y = &s->sets[b];
	uint32_t i = 0, k = 0, n = 0;
	bool more;

	while (i < x->n || k < y->n) {
		uint32_t p = i < x->n ? s->roots[x->first + i] : UINT32_MAX;
		uint32_t q = k < y->n ? s->roots[y->first + k] : UINT32_MAX;

		ids[n++] = p < q ? p : q;
		i += p <= q;
		k += q <= p;
	}
	more = x->more || y->more || n > SHARED_MAX_ROOTS;
	return intern(s, ids, n > SHARED_MAX_ROOTS ? SHARED_MAX_ROOTS : n, more, ret, err);
}

/* Most often it is two that were joined lately. */
static int join(struct shared *s, struct joined *lately, uint32_t a, uint32_t b, uint32_t *ret,
                struct error *err)
{
	struct joined *k = &lately[(a * 31 + b) % LATELY];
	int r = 0;

	if (a == b || a == UINT32_MAX || b == UINT32_MAX) {
		*ret = a == UINT32_MAX ? b : a;
		return 0;
	}
	if (!k->is_known || k->a != a || k->b != b) {
		*k = (struct joined){ .a = a, .b = b };
		r = join_two(s, a, b, &k->both, err);
		k->is_known = r == 0;
	}
	if (r == 0)
		*ret = k->both;
	return r;
}

/* ---- from tops to tops ---- */

/* Top of every vertex. */
static void find_tops(const struct dominators *d, uint32_t *top)
{
	memset(top, 0xff, d->n * sizeof(*top));
	for (size_t i = 1; i < d->n_order;) {
		const uint32_t v = d->order[i];

		for (const size_t end = d->end[i]; i < end; i++)
			top[d->order[i]] = v;
	}
}

struct links {
	uint32_t (*items)[2]; /* from top, to top */
	size_t n, cap;
};

static int add_link(struct links *l, uint32_t from, uint32_t to, struct error *err)
{
	int r;

	if (l->n && l->items[l->n - 1][0] == from && l->items[l->n - 1][1] == to)
		return 0;
	r = array_reserve(&l->items, &l->cap, l->n + 1, err);
	if (r < 0)
		return r;
	l->items[l->n][0] = from;
	l->items[l->n++][1] = to;
	return 0;
}

/* A reference of top @from's objects, which are of @tier, to @to. */
static int look_at(const struct dominators *d, const uint32_t *top, uint32_t from, unsigned tier,
                   uint32_t to, struct links *l, struct error *err)
{
	if (top[to] == from || d->tier[to] != tier)
		return 0;
	return add_link(l, from, top[to], err);
}

/* References that lead from one top's objects to another top. */
static int find_links(const struct object_graph *g, const struct dominators *d, const uint32_t *top,
                      struct links *l, struct error *err)
{
	const uint32_t leaf = object_graph_first_leaf(g);
	int r = 0;

	for (uint32_t v = 0; r == 0 && v < leaf; v++) {
		if (d->tier[v] == UINT8_MAX)
			continue;
		for (uint32_t e = g->first_edge[v]; r == 0 && e < g->first_edge[v + 1]; e++)
			r = look_at(d, top, top[v], d->tier[v], g->to[e], l, err);
	}
	for (size_t k = 0; r == 0 && k < g->n_roots; k++) {
		const struct object_root *root = &g->roots[k];
		const uint32_t v = (uint32_t)(d->n_nodes + k);

		for (uint32_t e = 0; r == 0 && e < root->n_edges; e++)
			r = look_at(d, top, v, (unsigned)root->tier,
			            g->root_edges[root->first_edge + e].to, l, err);
	}
	return r;
}

/* ---- from each root ---- */

/* What each top is reached from, by walks from one root after the other. */
struct reach {
	uint32_t *first, *to; /* links by the top that they come from */
	uint32_t *last;       /* of each vertex: its entry with the largest root, + 1 */
	uint32_t *count;      /* of entries */
	bool *more;           /* SHARED_MAX_ROOTS are not all */
	struct entry {
		uint32_t root, before; /* before: the next smaller root's, + 1 */
	} * entries;
	size_t n, cap;
	uint32_t *waiting;
	size_t n_waiting;
};

static void reach_clear(struct reach *k)
{
	free(k->first);
	free(k->to);
	free(k->last);
	free(k->count);
	free(k->more);
	free(k->entries);
	free(k->waiting);
}

static int reach_open(struct reach *k, size_t n_vertices, const struct links *l, struct error *err)
{
	k->first = calloc(n_vertices + 2, sizeof(*k->first));
	k->to = malloc((l->n + 1) * sizeof(*k->to));
	k->last = calloc(n_vertices + 1, sizeof(*k->last));
	k->count = calloc(n_vertices + 1, sizeof(*k->count));
	k->more = calloc(n_vertices + 1, sizeof(*k->more));
	k->waiting = malloc((n_vertices + 1) * sizeof(*k->waiting));
	if (!k->first || !k->to || !k->last || !k->count || !k->more || !k->waiting)
		return error_oom(err);
	for (size_t i = 0; i < l->n; i++)
		k->first[l->items[i][0] + 2]++;
	for (size_t v = 2; v < n_vertices + 2; v++)
		k->first[v] += k->first[v - 1];
	for (size_t i = 0; i < l->n; i++)
		k->to[k->first[l->items[i][0] + 1]++] = l->items[i][1];
	return 0;
}

/* Vertex @v is reached from @root, no root before which is larger. What is new waits. */
static int reach_vertex(struct reach *k, uint32_t v, uint32_t root, struct error *err)
{
	int r;

	if (k->last[v] && k->entries[k->last[v] - 1].root == root)
		return 0;
	if (k->count[v] == SHARED_MAX_ROOTS) {
		if (k->more[v])
			return 0;
		k->more[v] = true;
	} else {
		r = array_reserve(&k->entries, &k->cap, k->n + 1, err);
		if (r < 0 || k->n >= UINT32_MAX - 1)
			return r < 0 ? r : error_set(err, E2BIG, "too many objects are shared");
		k->entries[k->n++] = (struct entry){ root, k->last[v] };
		k->last[v] = (uint32_t)k->n;
		k->count[v]++;
	}
	k->waiting[k->n_waiting++] = v;
	return 0;
}

static int reach_from(struct reach *k, uint32_t vertex, uint32_t root, struct error *err)
{
	int r = reach_vertex(k, vertex, root, err);

	while (r == 0 && k->n_waiting) {
		const uint32_t v = k->waiting[--k->n_waiting];

		for (uint32_t e = k->first[v]; r == 0 && e < k->first[v + 1]; e++)
			r = reach_vertex(k, k->to[e], root, err);
	}
	return r;
}

/* The same as rounds without end: a top is passed through SHARED_MAX_ROOTS + 1 times at most. */
static int spread_by_root(struct shared *s, const struct dominators *d, const struct links *l,
                          struct error *err)
{
	cleanup(reach_clear) struct reach k = { 0 };
	int r = reach_open(&k, s->n_vertices, l, err);

	for (uint32_t root = 0; r == 0 && root < d->n_roots; root++)
		r = reach_from(&k, (uint32_t)d->n_nodes + root, root, err);
	for (size_t v = 0; r == 0 && v < s->n_vertices; v++) {
		uint32_t ids[SHARED_MAX_ROOTS], n = k.count[v];

		for (uint32_t e = k.last[v]; e; e = k.entries[e - 1].before)
			ids[--n] = k.entries[e - 1].root;
		if (k.count[v])
			r = intern(s, ids, k.count[v], k.more[v], &s->set[v], err);
	}
	return r;
}

/* Until nothing changes; sets only grow, and no set has more than SHARED_MAX_ROOTS, so it ends.
 * Nearly always after a few rounds; but a chain of tops may need as many as it is long. */
static int spread(struct shared *s, const struct dominators *d, const struct links *l,
                  struct error *err)
{
	struct joined lately[LATELY] = { 0 };
	bool changed = true;

	for (unsigned round = 0; changed; round++) {
		if (round == ROUNDS)
			return spread_by_root(s, d, l, err);
		changed = false;
		for (size_t i = 0; i < l->n; i++) {
			uint32_t *to = &s->set[l->items[i][1]], before = *to;
			int r = join(s, lately, before, s->set[l->items[i][0]], to, err);

			if (r < 0)
				return r;
			changed |= *to != before;
		}
	}
	return 0;
}

/* What stands below the tops that are objects. */
static void add_up(const struct object_graph *g, const struct dominators *d, struct shared *s)
{
	for (size_t i = 1; i < d->n_order; i = d->end[i]) {
		const uint32_t top = d->order[i];

		if (top >= d->n_nodes || s->set[top] == UINT32_MAX)
			continue;
		for (size_t k = i; k < d->end[i]; k++) {
			s->sets[s->set[top]].bytes += object_graph_size(g, d->order[k]);
			s->sets[s->set[top]].objects++;
		}
	}
}

int shared_compute(const struct object_graph *g, const struct dominators *d, struct shared *ret,
                   struct error *err)
{
	cleanup(shared_clear) struct shared s = { 0 };
	uint32_t *top = spare_take(d->n * sizeof(*top));
	struct links l = { 0 };
	int r = 0;

	s.set = top ? spare_take(d->n * sizeof(*s.set)) : NULL;
	if (!s.set) {
		spare_give(top);
		return error_oom(err);
	}
	s.n_vertices = d->n;
	memset(s.set, 0xff, d->n * sizeof(*s.set));
	for (uint32_t k = 0; r == 0 && k < d->n_roots; k++)
		r = intern(&s, &k, 1, false, &s.set[d->n_nodes + k], err);
	find_tops(d, top);
	if (r == 0)
		r = find_links(g, d, top, &l, err);
	if (r == 0)
		r = spread(&s, d, &l, err);
	free(l.items);
	spare_give(top);
	if (r < 0)
		return r;
	add_up(g, d, &s);
	*ret = s;
	s = (struct shared){ 0 };
	return 0;
}

void shared_name(const struct shared *s, const struct object_graph *g, uint32_t set, char *buf,
                 size_t size)
{
	const struct shared_set *k = &s->sets[set];
	size_t used;

	snprintf(buf, size, "shared by");
	for (uint32_t i = 0; i < k->n && i < SHARED_NAMES; i++) {
		used = strlen(buf);
		snprintf(buf + used, size - used, "%s %s", i ? "," : "",
		         object_graph_name(g, g->roots[s->roots[k->first + i]].name));
	}
	used = strlen(buf);
	if (k->more)
		snprintf(buf + used, size - used, " +%u or more", k->n - SHARED_NAMES);
	else if (k->n > SHARED_NAMES)
		snprintf(buf + used, size - used, " +%u", k->n - SHARED_NAMES);
}
