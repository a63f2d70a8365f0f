/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * musl's mallocng (since 1.2.1) from outside, without symbols. Its root, struct
 * malloc_context, is the place in a module's data that has a secret of 64 random
 * bits and leads to a page that begins with the same secret. Layouts of x86-64,
 * read in src/malloc/mallocng/meta.h of musl 1.2.1 to 1.2.5. The surprising rule:
 * groups of small slots lie inside slots of larger groups, and such a slot is no
 * block of the program's. The older malloc ("oldmalloc") has nothing that proves
 * it, so nothing is said of it.
 */

#include "runtime/peek.h"
#include "runtime/runtime.h"

/* See runtime.h, label_regions() and find_block(). @exe: target->exe. mallocng has no report
 * of its own: in_use_bytes are the blocks' sizes as they were asked for, which is what
 * malloc_usable_size() says. */
int musl_heap_label(struct peek *p, const char *exe, const struct regions_input *in,
                    struct regions *to, struct error *err);
int musl_heap_find_block(struct peek *p, const char *exe, const struct regions_input *in,
                         uint64_t addr, struct regions_block *ret, struct error *err);
