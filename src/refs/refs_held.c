/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_held.h"

#include <stdlib.h>

#include "base/cleanup.h"

static bool is_held(const struct object_graph *g, size_t root)
{
	return g->roots[root].tier == OBJECT_TIER_HELD && g->roots[root].n_edges == 1;
}

/* The roots by the object that each is: place in the order -> root + 1. */
static int find_places(const struct object_graph *g, const struct dominators *d, uint32_t *root_of,
                       struct error *err)
{
	cleanup(hash_map_clear) struct hash_map roots = { 0 };
	int r = 0;

	for (size_t k = 0; r == 0 && k < g->n_roots; k++) {
		if (is_held(g, k))
			r = hash_map_put(&roots, g->root_edges[g->roots[k].first_edge].to, k + 1,
			                 err);
	}
	for (size_t i = 0; r == 0 && i < d->n_order; i++) {
		const uint64_t *found = d->order[i] < d->n_nodes ? hash_map_get(&roots, d->order[i])
		                                                 : NULL;

		root_of[i] = found ? (uint32_t)*found : 0;
	}
	return r;
}

int refs_held(const struct object_graph *g, struct dominators *d, struct error *err)
{
	cleanup_free struct dominators_kept *before = NULL;
	cleanup_free uint32_t *root_of = NULL;
	bool any = false;
	int r;

	for (size_t k = 0; k < g->n_roots && !any; k++)
		any = is_held(g, k);
	if (!any)
		return 0;
	/* of all places before each */
	before = calloc(d->n_order + 1, sizeof(*before));
	root_of = calloc(d->n_order + 1, sizeof(*root_of));
	if (!before || !root_of)
		return error_oom(err);
	r = find_places(g, d, root_of, err);
	for (size_t i = 0; r == 0 && i < d->n_order; i++) {
		const bool is_node = d->order[i] < d->n_nodes;

		before[i + 1].bytes = before[i].bytes +
		                      (is_node ? object_graph_size(g, d->order[i]) : 0);
		before[i + 1].objects = before[i].objects + is_node;
	}
	for (size_t i = 0; r == 0 && i < d->n_order; i++) {
		if (root_of[i])
			d->kept[root_of[i] - 1] = (struct dominators_kept){
				before[d->end[i]].bytes - before[i].bytes,
				before[d->end[i]].objects - before[i].objects,
			};
	}
	return r;
}
