/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The roots of one Lua state, each under its name: "_G.sessions" (kind "global"),
 * "package.loaded.json" ("module"), "registry[3]" ("registry"), "metatable of string"
 * ("metatable"), "main thread" ("stack"), "waiting for finalizers" ("finalizer"), and what the
 * state is made of ("runtime"). Those of the second state and on end in " (state 2)".
 */

#include "base/error.h"
#include "runtime/lua/lua_heap.h"
#include "runtime/lua/lua_names.h"
#include "runtime/object_graph.h"

struct lua_roots_sink {
	int (*root)(void *arg, const struct object_root *root, struct error *err);
	/* Of the last root. */
	int (*reference)(void *arg, uint64_t to, uint32_t label, struct error *err);
	void *arg;
};

/* @number: of the state, 0 the first. */
int lua_roots_each(struct lua_heap *h, struct lua_names *names, size_t number,
                   const struct lua_roots_sink *sink, struct error *err);
/* The name of the coroutine at @thread: "coroutine app.lua:12". */
int lua_roots_coroutine(struct lua_names *names, uint64_t thread, size_t number,
                        struct object_root *ret, struct error *err);
