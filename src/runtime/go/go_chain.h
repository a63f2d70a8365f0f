/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The end of a list of records that link to one another in foreign memory: a
 * list that comes to where it was before is a circle (Brent), and all lists
 * together have no more records than memory has room for. Whoever follows such
 * links asks before each record.
 *
 *	struct go_chain c = { .left = &left };
 *
 *	for (uint64_t at = first; go_chain_goes_on(&c, at); at = next(at))
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct go_chain {
	uint64_t *left; /* records that there may still be, in this list and others; NULL: any */
	uint64_t turtle, power, steps;
};

static inline bool go_chain_goes_on(struct go_chain *c, uint64_t at)
{
	if (!at || (c->power && at == c->turtle) || (c->left && !*c->left))
		return false;
	if (c->left)
		--*c->left;
	if (c->steps++ == c->power) {
		c->turtle = at;
		c->power = c->power ? 2 * c->power : 1;
		c->steps = 0;
	}
	return true;
}
