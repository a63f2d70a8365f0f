/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Objects that the linker made, in data and bss, without a name of their own:
 * var gManager = &Manager{}. What a variable's type says of them lets their words
 * be the variable's: main.gManager, .clusters.
 */

#include "runtime/go/go_claims.h"

struct go_statics {
	struct go_static {
		uint64_t start, end;
		uint64_t size; /* of one of its elements, of this type */
		uint32_t type;
		uint32_t label; /* text: the fields from the variable to it; 0 */
		uint64_t owner; /* address of the variable that leads to it */
	} * items;              /* by address; owned */
	size_t n, cap;
};
void go_statics_clear(struct go_statics *s); /* usable with cleanup() */

/* None, if no variable has a type. */
int go_statics_find(struct go_claims *c, struct go_statics *ret, struct error *err);
/* The one that holds @addr; NULL: none. */
const struct go_static *go_statics_at(const struct go_statics *s, uint64_t addr);
