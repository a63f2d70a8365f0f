/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What those that find roots in the runtime's own records have in common: a root
 * is told only when it has a word, and a word only when an object is behind it.
 */

#include "runtime/go/go_roots.h"

struct go_emit {
	struct go_objects *o;
	struct object_graph *texts;
	const struct go_roots_sink *to;
	struct error *err;
	struct object_root root; /* not told yet, if it waits */
	bool waits;
};

/* The words that follow are of this root. */
int go_emit_root(struct go_emit *e, const char *name, const char *kind, enum object_tier tier);
/* @value is the word at @at. @what: how it is to be taken (FUNC, EFACE); PLAIN: not known. */
int go_emit_word(struct go_emit *e, uint64_t value, uint64_t at, enum go_types_what what,
                 const char *label);
/* The word that is at @at. */
int go_emit_at(struct go_emit *e, uint64_t at, enum go_types_what what, const char *label);

/* Name of the function whose func value (address of a closure) @closure is, or "". */
void go_emit_function(const struct go_emit *e, uint64_t closure, char *buf, size_t size);
