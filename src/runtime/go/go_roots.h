/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where a walk of a Go heap begins: words that are roots, in order of root. */

#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_claims.h"
#include "runtime/go/go_objects.h"
#include "runtime/object_graph.h"

/* A word of a stack. */
struct go_roots_local {
	uint32_t label;        /* text: "main.hold.buf", "main.hold stack slot" */
	uint32_t type, offset; /* the pointer word there of a variable of this type; 0 not known */
	enum go_types_what what; /* without a type: what the word is; PLAIN: not known */
	uint64_t at;             /* address of the word, if the variable is in one piece */
	const uint8_t *value;    /* else the variable, put together (go_claims_look_into()) */
	size_t value_bytes;
	uint64_t candidates; /* without a type: of go_guess_candidates() */
};

/* Called for each root (@root filled but for its edges), then for each of its
 * words that point into the heap. */
struct go_roots_sink {
	/* @at: address of the word, if it is in data or bss; else 0 */
	int (*root)(void *arg, const struct object_root *root, uint64_t at, struct error *err);
	int (*pointer)(void *arg, uint64_t value, uint64_t at, const char *label,
	               struct error *err);
	/* an object of the runtime's own: an edge of the last root; others to it are not told */
	int (*own)(void *arg, uint64_t value, struct error *err);
	/* of a stack */
	int (*local)(void *arg, uint64_t value, const struct go_roots_local *l, struct error *err);
	void *arg;
};

struct go_guess;
/* @guess: is filled, and go_roots_local.candidates are of it. @claims: has types NULL, if there are
 * none. */
int go_roots_each(struct go_objects *o, struct go_claims *claims, struct go_guess *guess,
                  const struct go_roots_sink *to, struct error *err);
