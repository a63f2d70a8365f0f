/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which variable each pointer word of a goroutine's stack belongs to: those of its
 * frames (go_locals.h), those in registers, and what they point to within the same
 * stack. The surprising rule: a word that two variables claim and of which nothing
 * says whose it is right now gets no name: a wrong one is worse.
 */

#include "base/hash.h"
#include "runtime/go/go_claims.h"
#include "runtime/go/go_frames.h"
#include "runtime/go/go_goroutines.h"
#include "runtime/go/go_locals.h"

/* A variable that lies in pieces, put together; words that are nowhere are GO_CLAIMS_UNKNOWN. */
enum { GO_SLOTS_VALUE_BYTES = 128 };
struct go_slots_value {
	uint8_t bytes[GO_SLOTS_VALUE_BYTES];
};

struct go_slots_word {
	uint64_t at;             /* address; register: its number */
	uint32_t label;          /* text: "main.hold.buf" */
	uint32_t type, offset;   /* it is the pointer word there of this type */
	enum go_types_what what; /* without a type: how the word is to be taken */
	uint32_t value; /* index + 1 of go_slots.values; 0: the variable is at at - offset */
	uint32_t rank;
	bool is_used; /* the runtime says so, whatever the stack maps do */
};

struct go_slots {
	struct go_claims *claims;
	struct go_locals *locals;             /* NULL: no variables */
	struct go_dictionaries *dictionaries; /* for these; NULL: none */
	struct go_slots_word *words;          /* by address; owned */
	size_t n_words, cap_words;
	struct go_slots_word registers[IMAGE_REGISTERS]; /* label 0: none */
	struct go_slots_value *values;                   /* owned */
	size_t n_values, cap_values;
	struct hash_map followed; /* what on the stack was looked at */
	struct hash_map joined;   /* texts of a word and a field -> text; of all stacks */
};
void go_slots_clear(struct go_slots *s); /* usable with cleanup() */

/* Of the frames of @g, which were just walked. */
int go_slots_make(struct go_slots *s, const struct go_frames *f, const struct go_goroutine *g,
                  struct error *err);
