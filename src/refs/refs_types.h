/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Types of an object graph: objects, bytes, and what they retain. An object
 * inside another one of its own type's retained set is not counted twice. */

#include <stdint.h>

#include "base/error.h"
#include "refs/dominators.h"
#include "runtime/object_graph.h"

struct refs_types_row {
	uint32_t type; /* text id of the graph; 0: unknown */
	uint64_t objects, bytes, retained;
};

/* Only what is reached; by retained bytes, most first. malloc'ed. */
int refs_types(const struct object_graph *g, const struct dominators *d,
               struct refs_types_row **ret, size_t *ret_n, struct error *err);
