/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The ladder's view of mimalloc: see runtime.h. */

#include "runtime/heap_memory.h"
#include "runtime/runtime.h"

int mimalloc_label_regions(const struct runtime_view *v, const struct regions_input *in,
                           struct regions *to, struct error *err);
int mimalloc_label_block(const struct runtime_view *v, const struct regions_input *in,
                         uint64_t addr, struct regions_block *ret, struct error *err);

/* The same on any memory. */
int mimalloc_label_memory(struct heap_memory *m, const struct regions_input *in, const char *exe,
                          struct regions *to, struct error *err);
int mimalloc_label_find(struct heap_memory *m, const struct regions_input *in, uint64_t addr,
                        struct regions_block *ret, struct error *err);
