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
 * Semi-NCA (Georgiadis, Tarjan, Werneck: Finding Dominators in Practice, 2006).
 */

#include <stdint.h>

#include "base/error.h"
#include "runtime/object_graph.h"

#define DOMINATORS_NONE UINT32_MAX /* not reached */

struct dominators {
	size_t n_nodes, n_roots, n; /* n = nodes + roots + 1; n - 1 is the common root */
	uint32_t *idom;             /* of each vertex; the common root's is itself */
	uint64_t *retained;         /* bytes, of each vertex */
	uint32_t *count;            /* objects, of each vertex, itself (no root) included */
	uint32_t *order;            /* vertices, each behind its dominator; n_order of them */
	size_t n_order;
	uint8_t *tier; /* of each node: of the strongest root that reaches it; 255 none */
};
void dominators_clear(struct dominators *d); /* { 0 } is empty */

int dominators_compute(const struct object_graph *g, struct dominators *ret, struct error *err);

/* The vertex right below the common root that dominates @v (or is it). */
uint32_t dominators_top(const struct dominators *d, uint32_t v);
