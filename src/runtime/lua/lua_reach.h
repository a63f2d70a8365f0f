/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which entries of tables with weak keys hold their value: those whose table and key are reached.
 * It takes a walk of its own, before the graph is made: a table may be met after the key.
 */

#include "base/error.h"
#include "base/hash.h"
#include "runtime/lua/lua_heap.h"

/* @pairs: of keys' addresses -> addresses of values (a multimap), from the roots @roots on. */
int lua_reach_pairs(struct lua_heap *h, const uint64_t *roots, size_t n_roots,
                    struct hash_map *pairs, struct error *err);
