/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Go's own heap profile as a profile: the values, stacks and labels that the
 * program itself would give at /debug/pprof/heap (runtime/pprof, protomem.go).
 */

#include "base/error.h"
#include "profile/profile.h"
#include "runtime/go/go_profile.h"
#include "target/image.h"

/* As runtime_ops.heap_profile. */
int go_allocs_profile(struct image *i, struct profile **ret, uint64_t *ret_fingerprint,
                      struct error *err);

/* The part of bucket @b's stack that pprof shows: without the runtime's own functions at its
 * inner end, unless there are no others. Returns the number of entries, *ret points into @p. */
size_t go_allocs_stack(const struct go_pclntab *t, const struct go_profile *p,
                       const struct go_profile_bucket *b, const uint64_t **ret);
