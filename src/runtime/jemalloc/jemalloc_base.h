/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * jemalloc's metadata: base blocks, 2 MiB aligned, each with its size and the
 * part of it that was not given out yet at its start (base.h, 5.2.1 and 5.3.0).
 * The surprising rule: a block is known by its own shape, but whose it is (of
 * several jemallocs in one process) only by what points into its chain.
 */

#include "runtime/jemalloc/jemalloc_heap.h"

/* h->bases and h->base_bytes. @alone: the process has no other jemalloc, so a
 * chain that nothing was found to point into is this one's, too. */
int jemalloc_base_read(struct heap_memory *m, const struct maps *maps, struct jemalloc_heap *h,
                       bool alone, struct error *err);
/* The block that holds @addr, or NULL. */
struct jemalloc_base *jemalloc_base_find(const struct jemalloc_heap *h, uint64_t addr);
