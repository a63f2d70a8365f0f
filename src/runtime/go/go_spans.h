/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The spans of a Go heap, added up as runtime/metrics does (/memory/classes).
 * The surprising rule: "objects" holds dead ones that the collector has not
 * swept yet, there and here.
 */

#include "runtime/go/go_heap.h"

enum { GO_SPANS_CLASSES = 128 };

struct go_spans {
	uint64_t in_use;  /* whole spans of objects: MemStats.HeapInuse */
	uint64_t objects; /* slots of them that are taken: heap/objects */
	uint64_t stacks;  /* spans of goroutines' stacks: heap/stacks */
	uint64_t work;    /* spans that the collector works with */
	uint64_t n_in_use, n_stacks;
	uint64_t checked, inconsistent;
	uint64_t untouched; /* records in store */
	/* by size class (0: large); a class's slots all have one size */
	struct {
		uint64_t bytes, elemsize;
	} classes[GO_SPANS_CLASSES];
	/* pages that hold allocation bits, sorted, each once; owned */
	uint64_t *bit_pages;
	size_t n_bit_pages, cap_bit_pages;
};
void go_spans_clear(struct go_spans *s); /* { 0 } is empty */

int go_spans_read(struct peek *p, const struct go_heap *h, struct go_spans *ret, struct error *err);

/* What the runtime itself counts; found by their neighbourhood in the module's data. */
struct go_spans_counters {
	uint64_t free, released;
	uint64_t in_use;                  /* whole spans of objects */
	uint64_t total_alloc, total_free; /* bytes since the start; 0: not counted (up to 1.18) */
	uint64_t at;                      /* where heapInUse stands */
};
/* 1 found, 0 not. */
int go_spans_find_counters(struct peek *p, const struct go_heap *h, const struct go_spans *s,
                           struct go_spans_counters *ret, struct error *err);
