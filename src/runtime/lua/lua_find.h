/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * All Lua states of a process: by words on the threads' stacks and in the
 * modules' data; then, in a process that has Lua, by their shape in all other
 * memory.
 */

#include "runtime/lua/lua_state.h"
#include "runtime/runtime.h"
#include "target/image.h"

struct lua_find {
	struct lua_state *items;
	size_t n_items, cap_items;
};
void lua_find_clear(struct lua_find *f); /* { 0 } is empty */
/* The same in memory that stands still. @everywhere: look at all of it, though nothing but a state
 * itself may tell of Lua. @other: without a state, the "LuaJIT" or "Lua 5.5" that is inside, or "".
 */
int lua_find_image(struct image *i, struct peek *p, bool everywhere, struct lua_find *ret,
                   char *other, size_t size, struct error *err);
int lua_find_all(const struct runtime_view *v, const struct regions_input *in, struct peek *p,
                 struct lua_find *ret, struct error *err);
