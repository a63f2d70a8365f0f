/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What Lua's objects and the references between them are called: types ("function
 * app.lua:12", "userdata FILE*") and labels (".data", "[…]", "buf") as texts of the graph.
 * Each is made once.
 */

#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "runtime/lua/lua_heap.h"
#include "runtime/object_graph.h"
#include "target/image.h"

struct lua_names {
	struct lua_heap *heap;
	struct object_graph *graph;
	struct image *image;     /* for names of C functions; NULL: there are none */
	struct hash_map known;   /* of addresses and kinds -> text */
	uint32_t n_fields;       /* field names so far */
	uint64_t variables_left; /* descriptions of variables that may still be looked at */
};
void lua_names_open(struct lua_names *n, struct lua_heap *h, struct object_graph *g,
                    struct image *i);
void lua_names_clear(struct lua_names *n);

/* A text that is written here. */
int lua_names_text(struct lua_names *n, const char *text, uint32_t *ret, struct error *err);
/* The type of object @addr. */
int lua_names_type(struct lua_names *n, uint64_t addr, enum lua_kind kind, uint32_t *ret,
                   struct error *err);
/* ".data" for the string at @key; "[…]" when it is no name, or there are too many. */
int lua_names_field(struct lua_names *n, uint64_t key, uint32_t *ret, struct error *err);
/* The string at @addr as it is ("hidden"); @otherwise when it is none. */
int lua_names_string(struct lua_names *n, uint64_t addr, const char *otherwise, uint32_t *ret,
                     struct error *err);
/* "app.lua:12" of the function prototype at @proto. */
void lua_names_place(struct lua_names *n, uint64_t proto, char *buf, size_t size);
