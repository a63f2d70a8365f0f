/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The type of an object that only a word without a variable leads to: temporaries
 * and arrays of slices that the compiler keeps on the stack. Candidates are what
 * the variables of that function point to, and what those point to. The rule: size
 * class and pointers of the object have to be those of exactly one candidate.
 */

#include "base/hash.h"
#include "runtime/go/go_claims.h"
#include "runtime/go/go_locals.h"

struct go_guess {
	struct hash_map by_entry;    /* of a function -> first slot << 32 | n */
	struct go_types_slot *slots; /* owned */
	size_t n_slots, cap_slots;
};
void go_guess_clear(struct go_guess *g); /* usable with cleanup() */

/* Candidates of the function that begins at @entry: a number for go_guess_type(); 0: none. */
int go_guess_candidates(struct go_guess *g, struct go_locals *locals, struct go_types *types,
                        uint64_t entry, uint64_t *ret, struct error *err);
/* As go_claims_follow(). */
bool go_guess_type(const struct go_guess *g, uint64_t candidates, struct go_claims *c,
                   uint64_t value, size_t span, uint32_t slot, struct go_claims_type *ret);
