/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The address ranges of a Go runtime: arenas, and what the runtime keeps about
 * them outside of them (map of arenas, summaries of free pages, which reserve
 * some 600 MiB to 1.1 GiB of addresses, spans, bitmaps, profile). The surprising
 * rule: the kernel joins neighbouring mappings, so an own mmap of the program
 * may be glued to the runtime's; only what a pointer of the runtime leads to is
 * claimed, never the whole mapping.
 */

#include "runtime/go/go_heap.h"
#include "runtime/go/go_spans.h"

struct go_meta {
	uint64_t arenas;      /* number */
	uint64_t arena_bytes; /* mapped of them, reserve included */
	uint64_t meta_bytes;
	uint64_t buckets, buckets_bytes; /* table of the profile's buckets; 0: none */
};

/* @minor: of the version (26 for 1.26); 0 not known. */
int go_meta_add(struct peek *p, const struct maps *m, const struct go_heap *h,
                const struct go_spans *s, unsigned minor, struct regions *to, uint32_t heap,
                struct go_meta *ret, struct error *err);
