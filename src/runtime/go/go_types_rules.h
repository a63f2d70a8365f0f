/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What Go's own libraries know of words that they declare as unsafe.Pointer, and
 * so neither DWARF nor a descriptor tells.
 */

#include "runtime/go/go_types_source.h"

/* Of one struct, while its fields are listed in order. */
struct go_types_rules {
	const char *in;     /* the struct's name; stays for so long */
	uint32_t atomic_to; /* of atomic.Pointer[T]: T */
};

/* Changes f->what and f->to where more is known. */
void go_types_rules_apply(struct go_types_rules *r, struct go_types *t, struct go_types_field *f);

/* A node of sync.Map's trie (1.24+) is an entry or holds others (internal/sync/hashtriemap.go):
 * the type of that; 0. */
bool go_types_rules_is_node(const char *name);
uint32_t go_types_rules_node(struct go_types *t, uint32_t node, bool is_entry);

/* A pointer to a time.Timer or time.Ticker is one to the runtime's record of it (1.23+, time.go,
 * newTimer): the name of that type; NULL: it is what it is called. */
const char *go_types_rules_made_as(const char *name);

/* Memory of such types is an array of them, whatever a pointer to it says. */
bool go_types_rules_repeats(const char *name);
