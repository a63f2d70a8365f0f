/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Chains of references from roots to an object, as data: refs --why, --type and
 * what show them as text or as JSON. The surprising rule: an object that is the
 * inside of its holder (a table of a map) is passed over unless it was asked for,
 * and of a chain of more than 40 references the middle is only counted.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/object_graph.h"

enum { REFS_CHAIN_NO_ROOT = UINT32_MAX };

/* A reference, and the object it leads to. */
struct refs_step {
	uint32_t node;
	uint32_t label;      /* text of the graph; 0: none */
	uint64_t kept_bytes; /* what the object alone keeps, itself too; 0: not asked */
};

struct refs_chain {
	uint32_t root;        /* of the graph; REFS_CHAIN_NO_ROOT: several */
	char *shared_by;      /* "shared by A, B"; NULL unless several */
	uint64_t kept_bytes;  /* what the root alone keeps; 0: not asked */
	size_t left_out;      /* references that are not among the steps */
	size_t left_out_from; /* they come before this step */
	struct refs_step *steps;
	size_t n_steps, cap_steps;
};

struct refs_chains {
	struct refs_chain *items;
	size_t n_items, cap_items;
	size_t more;     /* roots that have a chain, too */
	bool shows_kept; /* steps have kept_bytes */
};
void refs_chains_clear(struct refs_chains *c); /* { 0 } is empty */

/* A new one; NULL: no memory (*err is set). Valid until the next. */
struct refs_chain *refs_chains_add(struct refs_chains *c, uint32_t root, struct error *err);
int refs_chain_step(struct refs_chain *c, uint32_t node, uint32_t label, uint64_t kept_bytes,
                    struct error *err);

/* As lines, malloc'ed: the root, then a line for each step behind two blanks. */
int refs_chains_text(const struct refs_chains *c, const struct object_graph *g, char **ret,
                     struct error *err);

/* Ways that many objects share: the frames of refs_profile(), from the root on. */
struct refs_way {
	char **frames; /* owned */
	size_t n_frames;
	uint64_t objects, bytes; /* at its end */
};

struct refs_ways {
	struct refs_way *items;
	size_t n_items;
	uint64_t more;      /* ways that are not among them */
	uint64_t unreached; /* objects that nothing refers to */
};
void refs_chain_ways_clear(struct refs_ways *w);
int refs_chain_ways_text(const struct refs_ways *w, char **ret, struct error *err);
