/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * LAYER 3: who still refers to the objects of a heap. A runtime makes the graph
 * (runtime/object_graph.h); here it gets dominators, retained sizes and views,
 * and becomes a profile. The surprising rule: what several roots share belongs to
 * none of them; it stands under "shared by A, B".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "profile/profile.h"
#include "refs/refs_chain.h"
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
	bool is_plain;         /* roots by name alone, for comparing: not of how many they are */
	bool births;           /* refs_births.h; with the views retained and first-come */
	bool objects;          /* a table of all objects: address, type, bytes */
};

/*
 * Value types: retained/live "inuse_objects", "inuse_space" (default); a stack is
 * the chain from a root to the objects, leaf first: field paths with types, not
 * addresses; lists, trees and recursion fold into one frame. The report has
 * "result" = "refs", the figures live_bytes, live_objects, typed_bytes,
 * shape_typed_bytes, garbage_bytes, pause_ms (where known), runtime, self_check,
 * and the tables
 *   roots  name kind retained_bytes retained_objects shared_with
 *   goroutines  name count created_by waiting retained_bytes (of roots that are several)
 *   types  name objects bytes retained_bytes
 *   big    address type bytes root
 */
int refs_profile(const struct object_graph *g, const struct refs_options *o, struct profile **ret,
                 struct error *err);

/* Chains from roots to @node, one for each root that reaches it (at most @max_chains, the
 * strongest tier and the shortest first). *ret: to be cleared by the caller, as all below. */
int refs_why(const struct object_graph *g, uint32_t node, size_t max_chains,
             struct refs_chains *ret, struct error *err);
/* The same to the nearest of several. */
int refs_why_any(const struct object_graph *g, const uint32_t *nodes, size_t n_nodes,
                 size_t max_chains, struct refs_chains *ret, struct error *err);

/* The widest way to @node: from the root, or those that share it, by what alone keeps it; each
 * step with what that keeps in all. One chain, or none: nothing refers to it. */
int refs_widest(const struct object_graph *g, uint32_t node, struct refs_chains *ret,
                struct error *err);

/* Objects whose type matches the extended regexp @re, ascending, malloc'ed. -ENOENT: none. */
int refs_widest_nodes(const struct object_graph *g, const char *re, uint32_t **ret, size_t *ret_n,
                      struct error *err);
/* The widest ways to these objects, by bytes, at most @max_ways. */
int refs_widest_of(const struct object_graph *g, const uint32_t *nodes, size_t n, size_t max_ways,
                   struct refs_ways *ret, struct error *err);
