/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The blocks of memory that an object of Lua consists of: a table has its array and
 * its nodes, a prototype its code, a thread its stack and calls. Their bytes add up
 * to lua_heap_size() of the object.
 */

#include "runtime/lua/lua_heap.h"

/* A negative result of @block ends it. */
int lua_blocks_each(struct lua_heap *h, uint64_t addr, enum lua_kind kind,
                    int (*block)(void *arg, uint64_t start, uint64_t bytes, struct error *err),
                    void *arg, struct error *err);
