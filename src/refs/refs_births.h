/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where the live objects were born, joined with who holds them now, for those
 * that the runtime has sampled. A stack reads from the bottom: how the program
 * came to allocate, "[held by]", then the way from the root to the object; so the
 * picture is that of a heap profile with the holders on top of each place of birth.
 * The surprising rule: bytes are estimates, each sample stands for as many objects
 * as were probably not sampled; what is garbage already stands under "[garbage]".
 */

#include "base/error.h"
#include "profile/profile.h"
#include "refs/paths.h"
#include "runtime/object_graph.h"

/*
 * Samples (objects, bytes) into @to, and into its report the table
 *   births  born_in held_by bytes objects samples
 * (the innermost function, the root) and the figures birth_rate_bytes, birth_samples,
 * birth_live_bytes, birth_garbage_bytes. Garbage is left out if @only_some roots are
 * wanted. -ENODATA: the runtime has sampled nothing.
 */
int refs_births_fill(const struct object_graph *g, const struct paths *p, bool only_some,
                     struct profile *to, struct error *err);

/* Where @node was allocated, if that was sampled; else NULL. */
const struct object_birth *refs_births_of(const struct object_graph *g, uint32_t node);
