/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The graph of all Lua states of a process: from globals, loaded modules, the registry, the main
 * thread's stack and what waits for its finalizer, to every object that the collector would mark.
 *
 * The surprising rule: tables that a state itself holds for as long as it lives (that of the
 * globals, the registry, that of the loaded modules), its main thread and its fixed strings are
 * not referred to by anything: each function has the table of the globals as an upvalue, and all
 * would be shared by all. What these tables hold are roots.
 */

#include "base/error.h"
#include "runtime/lua/lua_account.h"
#include "runtime/lua/lua_find.h"
#include "runtime/object_graph.h"
#include "runtime/runtime.h"
#include "target/image.h"

/* As runtime_ops.object_graph. */
int lua_graph_make(struct image *i, const struct object_graph_options *o, struct object_graph *ret,
                   struct error *err);

/* As runtime_ops.has_objects. */
int lua_graph_is_there(struct image *i, char *buf, size_t size);

/* Where states are. */
struct lua_graph_from {
	struct peek *peek;
	struct image *image; /* has the program; may be NULL */
	uint64_t bytes;      /* of memory */
	const struct object_graph_options *options;
	struct lua_account *account; /* NULL: not asked */
};

/* Add one state, number @number of them. 0; -ENOTSUP: it is laid out in a way that is not known. */
int lua_graph_add(const struct lua_graph_from *from, const struct lua_state *s, size_t number,
                  struct object_graph *to, struct error *err);
