/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The table of what several roots keep together: "shared", by bytes, most first. */

#include "base/error.h"
#include "profile/report.h"
#include "refs/shared.h"
#include "runtime/object_graph.h"

/* @wanted: of each root, may be NULL; a set counts if one of its roots is wanted. */
int refs_shared_add(const struct object_graph *g, const struct shared *s, const bool *wanted,
                    struct report *to, struct error *err);

/* Which sets each root is in. */
struct refs_shared_index {
	uint32_t *first; /* of each root, in sets; one more behind the last */
	uint32_t *sets;
};
int refs_shared_index_make(const struct shared *s, size_t n_roots, struct refs_shared_index *ret,
                           struct error *err);
void refs_shared_index_clear(struct refs_shared_index *x); /* usable with cleanup() */

/* "main.a, main.b, main.c": names of those with whom @root shares something, each once, at most
 * SHARED_NAMES. */
void refs_shared_with(const struct object_graph *g, const struct shared *s,
                      const struct refs_shared_index *x, uint32_t root, char *buf, size_t size);
