/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * glibc's heap as rows of the ladder: one for each arena, one for all blocks with
 * a mapping of their own. The surprising rule: in_use_bytes is glibc's own word
 * (mallinfo2().uordblks): what threads have cached, and glibc's own headers,
 * are part of it.
 */

#include "runtime/peek.h"
#include "runtime/runtime.h"

/* See runtime.h, label_regions() and find_block(). @exe: target->exe. */
int glibc_heap_label(struct peek *p, const char *exe, const struct regions_input *in,
                     struct regions *to, struct error *err);
int glibc_heap_find_block(struct peek *p, const char *exe, const struct regions_input *in,
                          uint64_t addr, struct regions_block *ret, struct error *err);
