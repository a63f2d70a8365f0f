/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * LAYER 3: who still refers to the objects of a heap. A runtime makes the graph
 * (runtime/object_graph.h); here it gets dominators, retained sizes and views,
 * and becomes a profile. The surprising rule: what several roots share belongs to
 * none of them; it stands under "shared by A, B".
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "profile/profile.h"
#include "runtime/object_graph.h"

enum refs_view {
	REFS_RETAINED,   /* dominator tree, paths folded; default */
	REFS_FIRST_COME, /* breadth first: the shortest path from any root, as older tools */
	REFS_TYPES,      /* types by shallow and retained bytes */
	REFS_GOROUTINES, /* stack roots only, by goroutine function */
};

struct refs_options {
	enum refs_view view;
	const char *only_from; /* extended regexp: roots */
};

/*
 * Value types: retained/live "inuse_objects", "inuse_space" (default); a stack is
 * the chain from a root to the objects, leaf first: field paths with types, not
 * addresses; lists, trees and recursion fold into one frame. The report has
 * "result" = "refs", the figures live_bytes, live_objects, typed_bytes,
 * shape_typed_bytes, garbage_bytes, pause_ms (where known), runtime, self_check,
 * and the tables
 *   roots  name kind retained_bytes retained_objects shared_with
 *   types  name objects bytes retained_bytes
 *   big    address type bytes root
 */
int refs_profile(const struct object_graph *g, const struct refs_options *o, struct profile **ret,
                 struct error *err);

/* The shortest chains, and the one that keeps most, from a root to @node, as text lines. */
int refs_why(const struct object_graph *g, uint32_t node, size_t max_chains, char **ret,
             struct error *err);

/* Saved graphs: our one own format, versioned (docs/refs-format.md); read by mmap. */
int refs_save(const struct object_graph *g, const char *path, struct error *err);
int refs_load(const char *path, struct object_graph *ret, struct error *err);
/* What grew between two graphs, by holder: a diff profile (profile/transform.h's columns). */
int refs_diff(const struct object_graph *before, const struct object_graph *after,
              struct profile **ret, struct error *err);
