/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The way from a root to each object as a chain of frames, folded: a frame that
 * is on the way already is gone back to, so that a list of a million nodes, a
 * tree and a recursion are each one tower. The ways form a trie; each object has
 * its place in it.
 */

#include <stdint.h>

#include "base/error.h"
#include "refs/dominators.h"
#include "refs/refs.h"
#include "refs/shared.h"
#include "runtime/object_graph.h"

enum { PATHS_MAX_DEPTH = 512 };

struct paths_place {
	uint32_t parent; /* UINT32_MAX: outermost */
	uint32_t frame;  /* text id in paths.texts */
	uint32_t depth;
	uint64_t objects, bytes; /* of the objects at this very place */
};

struct paths {
	uint32_t *place; /* of each node; UINT32_MAX: not reached, or not wanted */
	struct paths_place *places;
	size_t n_places, cap_places;
	struct object_graph texts; /* only its texts are used: frames */
	struct hash_map index;     /* parent, frame -> place */
	struct hash_map frames;    /* label, type -> frame */
	bool is_plain;             /* set by the caller: roots by name, without how many they are */
};
void paths_clear(struct paths *p); /* { 0 } is empty */

/* @wanted (may be NULL): for each root, whether it is to be shown; what it shares
 * with others is then shown, too. With REFS_FIRST_COME the first root that comes
 * to an object has it, else what is shared stands under its own root. */
int paths_compute(const struct object_graph *g, const struct dominators *d, const struct shared *s,
                  enum refs_view view, const bool *wanted, struct paths *ret, struct error *err);
