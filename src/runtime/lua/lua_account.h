/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What of a process's pages is Lua's: live and garbage of all states, by page, since
 * they lie among the blocks of others. The surprising rule: bytes are those that Lua
 * asked for; what its allocator puts around them is the allocator's.
 */

#include "base/hash.h"
#include "runtime/graph_account.h"
#include "runtime/lua/lua_heap.h"
#include "target/target.h"

struct lua_account {
	struct hash_map pages; /* page number -> garbage bytes << 32 | live bytes */
	uint64_t live, garbage, counted;
};
void lua_account_clear(struct lua_account *a); /* { 0 } is empty */

/* The objects of one state; @node: of each, UINT32_MAX: garbage. */
int lua_account_add(struct lua_account *a, struct lua_heap *h, const uint32_t *node,
                    struct error *err);
/* Rows live and garbage; bytes of pages that are present in @t (NULL: a core, all are). */
int lua_account_finish(struct lua_account *a, const struct target *t, struct graph_account *to,
                       struct error *err);
