/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where a tcmalloc's globals are, by shape: the table of size classes by its
 * values, the page map by spans that say they stand for just that page, the
 * central lists by the numbers of their classes. The surprising rule: a module
 * whose table of classes is not found is not searched further.
 */

#include "runtime/tcmalloc/tcmalloc_heap.h"

/* A copy of a module's data. */
struct tcmalloc_roots {
	uint64_t start;
	uint64_t *words;
	size_t n;
};
void tcmalloc_roots_clear(struct tcmalloc_roots *r);

/* Fill root, class tables and central of @h (h->data is set). 1, 0 none, -errno. */
int tcmalloc_roots_find(struct heap_memory *m, const struct maps *maps, struct tcmalloc_heap *h,
                        struct tcmalloc_roots *ret);

/* A Span, decoded. false: not there, or none. */
bool tcmalloc_roots_span(struct heap_memory *m, uint64_t at, bool fresh, struct tcmalloc_span *ret);
