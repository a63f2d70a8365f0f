/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How long a state's own block is. It has LUA_EXTRASPACE, the main thread and
 * global_State one behind the other, each as the embedder built it. The surprising
 * rule: what Lua counts and no object has is the measure.
 */

#include "runtime/lua/lua_heap.h"

/* Of a heap whose objects, strings' table and threads are in sum: sets padding, global_bytes and
 * extra_space, and adds them. */
void lua_own_find(struct lua_heap *h);
