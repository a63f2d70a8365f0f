/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What was there before the attach (before.h), of processes that the exact engine records:
 * with --before, for its rows are what the programs asked for, to the byte. */

#include "alloc/recorder.h"

/* From time to time, so that it is known of a process that ends. */
void bpf_before_tend(struct alloc_recorder *r, u64 now_ns);
/* Now. */
void bpf_before_look(struct alloc_recorder *r);
/* The rows; a filter of sizes or ages, and the maximum, leave them out. */
int bpf_before_fill(const struct alloc_recorder *r, const struct alloc_filter *filter,
                    struct profile *p, struct error *err);
