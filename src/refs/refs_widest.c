/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "refs/dominators.h"
#include "refs/paths.h"
#include "refs/refs.h"
#include "refs/shared.h"

enum { SHOWN = 20, NAME_BYTES = 1024 };

/* ---- one object ---- */

/* The dominators of an object that are shown, from the root on. */
struct chain {
	uint32_t vertex[2 * SHOWN];
	uint64_t kept[2 * SHOWN];
	size_t n, left_out; /* of a long one the middle, behind the first SHOWN */
};

static size_t depth_of(const struct dominators *d, uint32_t v)
{
	size_t n = 0;

	for (; v != d->n - 1; v = d->idom[v])
		n++;
	return n;
}

static void fill_chain(const struct dominators *d, uint32_t node, struct chain *ret)
{
	size_t depth = depth_of(d, node), k = depth;

	ret->left_out = depth > 2 * SHOWN ? depth - 2 * SHOWN : 0;
	ret->n = depth - ret->left_out;
	for (uint32_t v = node; v != d->n - 1; v = d->idom[v]) {
		k--;
		if (k < SHOWN)
			ret->vertex[k] = v;
		else if (k >= SHOWN + ret->left_out)
			ret->vertex[k - ret->left_out] = v;
	}
}

/* What each keeps, in one pass over the tree: they lie in each other. */
static void sum_chain(const struct object_graph *g, const struct dominators *d, struct chain *c)
{
	size_t next = 0, open = 0;
	uint32_t end[2 * SHOWN];
	uint64_t sum = 0;

	for (size_t i = 0; i <= d->n_order && (next < c->n || open); i++) {
		while (open && end[open - 1] == i) {
			open--;
			c->kept[open] = sum - c->kept[open];
		}
		if (i == d->n_order)
			break;
		if (next < c->n && d->order[i] == c->vertex[next]) {
			c->kept[next++] = sum;
			end[open++] = d->end[i];
		}
		if (d->order[i] < d->n_nodes)
			sum += object_graph_size(g, d->order[i]);
	}
}

static int add_shared(const struct object_graph *g, const struct dominators *d, uint32_t top,
                      struct refs_chain *to, struct error *err)
{
	cleanup(shared_clear) struct shared s = { 0 };
	char name[NAME_BYTES];
	int r = shared_compute(g, d, &s, err);

	if (r < 0)
		return r;
	shared_name(&s, g, s.set[top], name, sizeof(name));
	to->shared_by = strdup(name);
	return to->shared_by ? 0 : error_oom(err);
}

static int add_widest(const struct object_graph *g, const struct dominators *d, uint32_t node,
                      struct refs_chains *to, struct error *err)
{
	struct refs_chain *way = refs_chains_add(to, REFS_CHAIN_NO_ROOT, err);
	struct chain c;
	size_t i = 0;
	int r = way ? 0 : -ENOMEM;

	fill_chain(d, node, &c);
	sum_chain(g, d, &c);
	if (r == 0 && c.n && c.vertex[0] >= d->n_nodes) {
		way->root = c.vertex[0] - (uint32_t)d->n_nodes;
		way->kept_bytes = c.kept[i++];
	} else if (r == 0) {
		r = add_shared(g, d, c.vertex[0], way, err);
	}
	for (; r == 0 && i < c.n; i++) {
		if (i == SHOWN && c.left_out) {
			way->left_out = c.left_out;
			way->left_out_from = way->n_steps;
		}
		r = refs_chain_step(way, c.vertex[i], 0, c.kept[i], err);
	}
	return r;
}

int refs_widest(const struct object_graph *g, uint32_t node, struct refs_chains *ret,
                struct error *err)
{
	cleanup(dominators_clear) struct dominators d = { 0 };
	cleanup(refs_chains_clear) struct refs_chains to = { .shows_kept = true };
	int r = node < g->n_nodes ? dominators_compute(g, &d, err)
	                          : error_set(err, EINVAL, "no such object");

	if (r == 0 && d.idom[node] != DOMINATORS_NONE)
		r = add_widest(g, &d, node, &to, err);
	if (r < 0)
		return r;
	*ret = to;
	to = (struct refs_chains){ 0 };
	return 0;
}

/* ---- all of a type ---- */

int refs_widest_nodes(const struct object_graph *g, const char *re, uint32_t **ret, size_t *ret_n,
                      struct error *err)
{
	cleanup_free uint8_t *matches = calloc(g->n_texts + 1, 1); /* 1 yes, 2 no, 0 not tried */
	cleanup_free uint32_t *nodes = malloc((g->n_nodes + 1) * sizeof(*nodes));
	size_t n = 0;
	regex_t compiled;

	if (!matches || !nodes)
		return error_oom(err);
	if (regcomp(&compiled, re, REG_EXTENDED | REG_NOSUB))
		return error_set(err, EINVAL, "'%s' is no regular expression", re);
	for (uint32_t v = 0; v < g->n_nodes; v++) {
		uint32_t type = g->type[v] >> 2;

		if (!matches[type])
			matches[type] = type && !regexec(&compiled, object_graph_name(g, type), 0,
			                                 NULL, 0)
			                        ? 1
			                        : 2;
		if (matches[type] == 1)
			nodes[n++] = v;
	}
	regfree(&compiled);
	if (!n) {
		error_set(err, ENOENT, "no live object is of a type that matches '%s'", re);
		return error_hint(err, "--view types lists them");
	}
	*ret = take_ptr(nodes);
	*ret_n = n;
	return 0;
}

struct way {
	uint32_t place;
	uint64_t objects, bytes;
};

static int wider(const void *a, const void *b)
{
	const struct way *x = a, *y = b;

	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

/* From the root down. */
static int add_way(const struct paths *p, const struct way *w, struct refs_ways *to,
                   struct error *err)
{
	struct refs_way *way = &to->items[to->n_items];
	size_t n = 0;

	for (uint32_t at = w->place; at != UINT32_MAX && n <= PATHS_MAX_DEPTH;
	     at = p->places[at].parent)
		n++;
	*way = (struct refs_way){ .objects = w->objects, .bytes = w->bytes };
	way->frames = calloc(n + 1, sizeof(*way->frames));
	if (!way->frames)
		return error_oom(err);
	to->n_items++;
	way->n_frames = n;
	for (uint32_t at = w->place; n; at = p->places[at].parent) {
		way->frames[--n] = strdup(object_graph_name(&p->texts, p->places[at].frame));
		if (!way->frames[n])
			return error_oom(err);
	}
	return 0;
}

/* How many of the objects are at each place. */
static void count_ways(const struct object_graph *g, const struct paths *p, struct way *ways,
                       const uint32_t *nodes, size_t n_nodes, uint64_t *unreached)
{
	for (size_t i = 0; i < n_nodes; i++) {
		uint32_t place = p->place[nodes[i]];

		if (place == UINT32_MAX) {
			++*unreached;
			continue;
		}
		ways[place].place = place;
		ways[place].objects++;
		ways[place].bytes += object_graph_size(g, nodes[i]);
	}
	qsort(ways, p->n_places, sizeof(*ways), wider);
}

static int find_ways(const struct object_graph *g, const struct paths *p, const uint32_t *nodes,
                     size_t n_nodes, size_t max_ways, struct refs_ways *to, struct error *err)
{
	cleanup_free struct way *ways = calloc(p->n_places + 1, sizeof(*ways));
	size_t n = 0;
	int r = 0;

	to->items = calloc(max_ways + 1, sizeof(*to->items));
	if (!ways || !to->items)
		return error_oom(err);
	count_ways(g, p, ways, nodes, n_nodes, &to->unreached);
	while (n < p->n_places && ways[n].objects)
		n++;
	for (size_t i = 0; r == 0 && i < n && i < max_ways; i++)
		r = add_way(p, &ways[i], to, err);
	to->more = n > max_ways ? n - max_ways : 0;
	return r;
}

int refs_widest_of(const struct object_graph *g, const uint32_t *nodes, size_t n, size_t max_ways,
                   struct refs_ways *ret, struct error *err)
{
	cleanup(dominators_clear) struct dominators d = { 0 };
	cleanup(shared_clear) struct shared s = { 0 };
	cleanup(paths_clear) struct paths p = { 0 };
	cleanup(refs_chain_ways_clear) struct refs_ways to = { 0 };
	int r = dominators_compute(g, &d, err);

	if (r == 0)
		r = shared_compute(g, &d, &s, err);
	if (r == 0)
		r = paths_compute(g, &d, &s, REFS_RETAINED, NULL, &p, err);
	if (r == 0)
		r = find_ways(g, &p, nodes, n, max_ways, &to, err);
	if (r < 0)
		return r;
	*ret = to;
	to = (struct refs_ways){ 0 };
	return 0;
}
