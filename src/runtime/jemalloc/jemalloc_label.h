/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The ladder's view of all jemallocs of a process: see runtime.h. */

#include "runtime/jemalloc/jemalloc_heap.h"
#include "runtime/runtime.h"

int jemalloc_label_regions(const struct runtime_view *v, const struct regions_input *in,
                           struct regions *to, struct error *err);
int jemalloc_label_block(const struct runtime_view *v, const struct regions_input *in,
                         uint64_t addr, struct regions_block *ret, struct error *err);

struct jemalloc_heap;
/* Each jemalloc that is found; ends with what @each returns below 0. */
int jemalloc_label_each(const struct runtime_view *v, const struct regions_input *in,
                        int (*each)(const struct jemalloc_heap *h, void *arg, struct error *err),
                        void *arg, struct error *err);

/* The same on any memory; @exe: path of the executable in @in->maps. */
int jemalloc_label_memory(struct heap_memory *m, const struct regions_input *in, const char *exe,
                          struct regions *to, struct error *err);
int jemalloc_label_find(struct heap_memory *m, const struct regions_input *in, const char *exe,
                        uint64_t addr, struct regions_block *ret, struct error *err);
