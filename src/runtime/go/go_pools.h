/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sync.Pool variables: what they hold, at hand and as "victim", goes with the second
 * collection that finds it unused, so it is a root of its own and not of the
 * variable. Without symbols the lists of all pools are found by the code that
 * cleans them up, and a pool is told by its function New. Facts: sync/pool.go (Pool,
 * poolCleanup), the same in 1.17 to 1.26.
 */

#include "base/hash.h"
#include "runtime/go/go_emit.h"
#include "runtime/go/go_symbols.h"

enum { GO_POOLS_LOCAL = 0, GO_POOLS_VICTIM = 16 }; /* offsets in sync.Pool */

struct go_pools {
	struct go_pool { /* one that is no object of the heap */
		uint64_t at;
		uint64_t variable; /* it, or the one with a name that points to it */
	} * items;                 /* owned */
	size_t n, cap;
	struct hash_map words; /* addresses of their words .local and .victim */
};
void go_pools_clear(struct go_pools *p); /* usable with cleanup() */

int go_pools_find(const struct go_emit *e, const struct go_symbols *symbols, struct go_pools *ret);
static inline bool go_pools_has(const struct go_pools *p, uint64_t at)
{
	return hash_map_get(&p->words, at) != NULL;
}
int go_pools_each(struct go_emit *e, const struct go_symbols *symbols, const struct go_pools *p);
