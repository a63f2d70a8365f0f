/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which roots share what no single one keeps alive. An object right below the
 * common root is reached through two tops or more (roots, or objects that are
 * shared themselves); the set of roots behind them all is its name. Sets are
 * interned; one with more than SHARED_MAX_ROOTS roots stops growing and says so.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "refs/dominators.h"
#include "runtime/object_graph.h"

enum { SHARED_MAX_ROOTS = 256, SHARED_NAMES = 3 };

struct shared_set {
	uint32_t first, n; /* in shared.roots, ascending */
	bool more;         /* it had more than SHARED_MAX_ROOTS */
	/* what those roots keep together, and none of them alone */
	uint64_t bytes;
	uint32_t objects;
};

struct shared {
	uint32_t *set; /* of each vertex that is a top: index of its set; else UINT32_MAX */
	size_t n_vertices;
	struct shared_set *sets;
	size_t n_sets, cap_sets;
	uint32_t *roots;
	size_t n_root_ids, cap_roots;
	struct hash_map index;
};
void shared_clear(struct shared *s); /* { 0 } is empty */

int shared_compute(const struct object_graph *g, const struct dominators *d, struct shared *ret,
                   struct error *err);

/* "shared by main.a, main.b, main.c +4", cut to @size. */
void shared_name(const struct shared *s, const struct object_graph *g, uint32_t set, char *buf,
                 size_t size);
