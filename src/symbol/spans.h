/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Address ranges that may overlap and nest, and the best one that covers an
 * address: sorted once, then found by binary search and a bounded walk back.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct span {
	uint64_t start, end; /* end is behind the last byte */
	uint64_t rank;       /* of spans that cover an address and begin alike: the highest */
	const char *name;    /* the owner's */
};

struct spans {
	struct span *items;
	size_t n_items, cap_items;
	uint64_t *max_end; /* of items 0 to i; made by spans_sort() */
};

void spans_clear(struct spans *s);
int spans_add(struct spans *s, struct span one, struct error *err);
int spans_sort(struct spans *s, struct error *err);

/* The innermost: the span with the highest start, of those the highest rank.
 * NULL: nothing covers @addr (or more than SPANS_MAX_WALK spans begin between
 * it and what does). */
const struct span *spans_innermost(const struct spans *s, uint64_t addr);

/* The span with the highest rank of all that cover @addr. */
const struct span *spans_highest(const struct spans *s, uint64_t addr);

enum { SPANS_MAX_WALK = 1 << 16 };
