/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Pages of V8's heaps: each begins with a header that names its own place and
 * size, its heap and its space (src/heap/basic-memory-chunk.h of V8 11.3).
 */

#include <stdbool.h>
#include <stdint.h>

#include "runtime/peek.h"
#include "runtime/regions.h"

enum { V8_PAGES_HEAPS = 64 };

struct v8_pages {
	struct v8_pages_page {
		uint64_t start, size, heap, space;
		bool large; /* one object */
	} * items;          /* by address */
	size_t n_items, cap_items;
	/* the heaps of these pages (isolates); more than there is room for are left out */
	struct v8_pages_heap {
		uint64_t at;
		size_t n_pages;
	} heaps[V8_PAGES_HEAPS];
	size_t n_heaps;
};
void v8_pages_clear(struct v8_pages *p); /* { 0 } is empty */

/* All pages of heaps that have at least @least. */
int v8_pages_find(struct peek *p, const struct maps *m, size_t least, struct v8_pages *ret,
                  struct error *err);
/* The reservation for machine code that an object of @heap names twice, and which has one of the
 * pages in it; false: none. */
bool v8_pages_code_range(struct peek *p, const struct maps *m, const struct v8_pages *pages,
                         uint64_t heap, uint64_t *ret_start, uint64_t *ret_end);
