/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * gperftools' tcmalloc of a process, read from outside (x86-64, 8 KiB pages, 48
 * address bits): page map, spans, central lists, transfer caches, thread caches.
 * Sources: gperftools 2.10, src/{span,pagemap,page_heap,common,
 * central_freelist,thread_cache}.h. The surprising rule: the page map keeps stale
 * pointers inside spans, so it is walked from span to span and never asked about
 * an interior page. Google's newer tcmalloc has other records; nothing is found there.
 */

#include <stdbool.h>
#include <stdint.h>

#include "runtime/heap_memory.h"
#include "runtime/regions.h"

enum {
	TCMALLOC_HEAP_PAGE = 8192,
	TCMALLOC_HEAP_CLASSES = 128, /* entries of the tables; most have fewer classes */
};

enum tcmalloc_place { TCMALLOC_IN_USE, TCMALLOC_FREE, TCMALLOC_RETURNED };

struct tcmalloc_span {
	uint64_t start, size;
	uint64_t objects;   /* head of its list of free objects */
	uint64_t record;    /* address of the Span */
	uint16_t n_used;    /* objects given out */
	uint8_t size_class; /* 0: one large block, or none */
	uint8_t place;      /* enum tcmalloc_place */
};

struct tcmalloc_heap {
	struct regions_data data; /* of the module */
	uint64_t root;            /* of the page map */
	int32_t class_bytes[TCMALLOC_HEAP_CLASSES], class_moves[TCMALLOC_HEAP_CLASSES];
	unsigned n_classes;
	uint64_t central;            /* address of the central lists; 0: not found */
	struct tcmalloc_span *spans; /* by address, disjoint */
	size_t n_spans, cap_spans;
	uint64_t *caches; /* addresses of the thread caches */
	size_t n_caches, cap_caches;
	uint64_t *leaves;
	size_t n_leaves, cap_leaves;

	/* bytes, as MallocExtension has them */
	uint64_t heap, free, returned, large, small; /* small: objects given out by spans */
	uint64_t central_free, tails, transfer, thread;
	uint64_t n_large;
	uint64_t checked, inconsistent;
};
void tcmalloc_heap_clear(struct tcmalloc_heap *h);

/* The tcmalloc of module @d. 1 found and read, 0 none there, -errno. */
int tcmalloc_heap_read(struct heap_memory *m, const struct maps *maps, const struct regions_data *d,
                       struct tcmalloc_heap *ret, struct error *err);
/* The span that holds @addr, or NULL. */
const struct tcmalloc_span *tcmalloc_heap_find(const struct tcmalloc_heap *h, uint64_t addr);

/* Is the object at @start on a list? 0 no, 1 free in its span or a transfer
 * cache, 2 in a thread's cache. Bounded by the lengths that the lists claim. */
int tcmalloc_heap_listed(struct heap_memory *m, const struct tcmalloc_heap *h,
                         const struct tcmalloc_span *s, uint64_t start);
