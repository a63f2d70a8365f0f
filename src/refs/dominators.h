/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Dominators of an object graph, and what each retains: the bytes that would be
 * freed if the references to it went. Vertices are the objects (by node), then
 * the roots, then one common root of all. What has the common root as its
 * dominator and is no root is shared.
 *
 * The surprising rule: tiers. What a stronger tier reaches belongs to it, and
 * references from weaker ones (a stack's, a register's) are then not looked at:
 * a goroutine that just works on an object does not make it "shared".
 *
 * Semi-NCA (Georgiadis, Tarjan, Werneck: Finding Dominators in Practice, 2006). While it is
 * computed, 20 bytes a vertex and 8 a reference that is none of the depth-first tree; then 13 a
 * vertex.
 */

#include <stdint.h>

#include "base/error.h"
#include "runtime/object_graph.h"

#define DOMINATORS_NONE UINT32_MAX /* not reached */

/* What a root retains. */
struct dominators_kept {
	uint64_t bytes;
	uint32_t objects;
};

struct dominators {
	size_t n_nodes, n_roots, n; /* n = nodes + roots + 1; n - 1 is the common root */
	uint32_t *idom;             /* of each vertex; the common root's is itself */
	/* The dominator tree from the common root down: vertices, each followed by all that it
	 * dominates, n_order of them. NULL after dominators_drop_order(). */
	uint32_t *order;
	uint32_t *end; /* of each place in order: the first place that is not below it */
	size_t n_order;
	uint8_t *tier; /* of each node: of the strongest root that reaches it; 255 none */
	struct dominators_kept *kept; /* by each root */
};
void dominators_clear(struct dominators *d); /* { 0 } is empty */

int dominators_compute(const struct object_graph *g, struct dominators *ret, struct error *err);
/* When nobody will ask for it any more: 8 bytes a vertex. */
void dominators_drop_order(struct dominators *d);

/* For who looks at objects in the order of the tree and is at place @k of it: asks for what comes
 * soon, which lies anywhere. */
static inline void dominators_look_ahead(const struct object_graph *g, const struct dominators *d,
                                         size_t k)
{
	const size_t at = k + 16;

	if (at < d->n_order && d->order[at] < d->n_nodes) {
		__builtin_prefetch(&g->size_code[d->order[at]]);
		__builtin_prefetch(&g->type[d->order[at]]);
	}
}

/* The vertex right below the common root that dominates @v (or is it). */
uint32_t dominators_top(const struct dominators *d, uint32_t v);
