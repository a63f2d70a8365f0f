/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * jemalloc's thread caches, found without threads: each arena keeps a ring of
 * its caches (cache_bin_array_descriptor_ql), and each node says where the bins
 * are. The surprising rule: that way caches of any TLS model, and those made by
 * hand (tcache.create), are found alike; a thread's TLS is looked at only in a
 * jemalloc without statistics, whose arenas keep no such ring.
 */

#include "runtime/jemalloc/jemalloc_base.h"

/* h->caches and what they hold; items that no slab has given out are counted in
 * h->inconsistent. With @each (may be NULL) every item is shown. After
 * jemalloc_base_read(). @in->threads may be NULL. */
int jemalloc_cache_read(struct heap_memory *m, const struct regions_input *in,
                        struct jemalloc_heap *h, void (*each)(uint64_t addr, void *arg), void *arg,
                        struct error *err);
