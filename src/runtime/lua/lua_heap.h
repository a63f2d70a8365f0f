/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * All objects of one Lua state, by the lists that its collector keeps, each with the bytes
 * that Lua's own accounting has for it (a table with its array and nodes, a function's
 * prototype with its code). The surprising rule: they are checked by their sum, which is what
 * collectgarbage("count") says.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "runtime/lua/lua_layout.h"
#include "runtime/lua/lua_state.h"
#include "runtime/peek.h"

/* lobject.h's tags, but the same for all versions. */
enum lua_kind {
	LUA_NONE,
	LUA_SHORT_STRING,
	LUA_LONG_STRING,
	LUA_TABLE,
	LUA_CLOSURE,
	LUA_C_CLOSURE,
	LUA_USERDATA,
	LUA_COROUTINE, /* lua_State */
	LUA_PROTO,
	LUA_UPVALUE,
	LUA_GLOBAL_STATE,
	LUA_STRING_TABLE,
};

enum lua_list { LUA_ALLGC, LUA_FINOBJ, LUA_TOBEFNZ, LUA_FIXEDGC, LUA_LISTS };

struct lua_table {
	uint64_t array, n_array;
	uint64_t node, n_nodes; /* n_nodes: 0 with the node that all empty tables share */
	uint64_t metatable;
};

struct lua_heap {
	struct peek *peek;
	const struct lua_layout *layout;
	uint64_t main_thread, global, registry, globals, loaded;
	uint64_t total;    /* what collectgarbage("count") says, in bytes */
	uint64_t sum;      /* of all objects */
	uint64_t *objects; /* address << 8 | special << 7 | kind, ascending */
	size_t n_objects, cap_objects;
	uint64_t *waiting; /* addresses of objects whose finalizer is to be called */
	size_t n_waiting, cap_waiting;
	struct hash_map modes; /* of metatables that were looked at: enum lua_mode */
	bool has_ephemerons;
	uint16_t extra_space; /* LUA_EXTRASPACE: before each thread */
	uint64_t n_threads;
	bool has_main;
	uint64_t inconsistent; /* links that lead nowhere */
	uint64_t open_bytes;   /* of the lists of open upvalues of 5.3 */
	uint64_t global_bytes; /* with what is before it in the block */
	uint64_t padding;
};
void lua_heap_close(struct lua_heap *h); /* { 0 } is empty */

/* A metatable of more nodes is not looked through. */
enum { LUA_META_NODES = 4096 };

/* Table; slots behind a stack's last (lstate.h, EXTRA_STACK). */
enum { LUA_TABLE_BYTES = 56, LUA_EXTRA_STACK = 5 };
/* LUA_EXTRASPACE as released: bytes before each thread. */
enum { LUA_EXTRA_SPACE = 8 };

/* Bits of __mode. */
enum lua_mode { LUA_STRONG, LUA_WEAK_KEYS, LUA_WEAK_VALUES, LUA_ALL_WEAK };

/* @most: bytes of memory that there are. -ENOTSUP: a layout that is not known, or the sum is
 * another one. */
int lua_heap_open(struct peek *p, const struct lua_state *s, uint64_t most, struct lua_heap *ret,
                  struct error *err);

/* The object at @addr: its place in objects; SIZE_MAX: none begins there. */
size_t lua_heap_find(const struct lua_heap *h, uint64_t addr);
static inline uint64_t lua_heap_address(const struct lua_heap *h, size_t i)
{
	return h->objects[i] >> 8;
}
static inline enum lua_kind lua_heap_kind(const struct lua_heap *h, size_t i)
{
	return (enum lua_kind)(h->objects[i] & 0x7f);
}
/* What the state itself holds for as long as it lives: references to it say nothing. */
static inline bool lua_heap_is_special(const struct lua_heap *h, size_t i)
{
	return h->objects[i] & 0x80;
}

/* Bytes of the object; 0: it makes no sense. */
uint64_t lua_heap_size(struct lua_heap *h, uint64_t addr, enum lua_kind kind);
bool lua_heap_table(struct lua_heap *h, uint64_t addr, struct lua_table *ret);
/* What __mode of @metatable (0: none) says. */
enum lua_mode lua_heap_mode(struct lua_heap *h, uint64_t metatable);

/* A value and its tag at @bytes, layout->value_bytes of them: what it refers to; 0: nothing that is
 * collected. */
uint64_t lua_heap_value(const struct lua_heap *h, const uint8_t *bytes);
/* Its tag. */
uint8_t lua_heap_tag(const struct lua_heap *h, const uint8_t *bytes);
/* The key of node @bytes, alike; *ret_tag: of the key, without the bit for "collected". */
uint64_t lua_heap_key(const struct lua_heap *h, const uint8_t *node, uint8_t *ret_tag);
/* The value of @table under the string @key, looked for in the first @most nodes; 0: none, or
 * nothing that is collected. */
uint64_t lua_heap_field(struct lua_heap *h, uint64_t table, const char *key, uint64_t most);
/* The bytes of the string at @addr, cut to @size - 1 and NUL-terminated; -1: it is none. */
int64_t lua_heap_string(struct lua_heap *h, uint64_t addr, char *buf, size_t size);
