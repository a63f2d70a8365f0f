/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a Lua object refers to, as the collector would mark it (lgc.c, propagatemark): the
 * values of tables that are not weak, upvalues, constants, stacks up to their top.
 *
 * The surprising rule: entries of tables with weak keys are no references of the table. They are
 * told as pairs: whoever holds the key holds the value.
 */

#include <stdint.h>

#include "base/error.h"
#include "runtime/lua/lua_heap.h"
#include "runtime/lua/lua_names.h"

struct lua_refs {
	struct lua_heap *heap;
	struct lua_names *names; /* NULL: no labels are made */
	/* @to: address of an object; @label: text. Negative ends it. */
	int (*reference)(void *arg, uint64_t to, uint32_t label, struct error *err);
	int (*pair)(void *arg, uint64_t key, uint64_t value, struct error *err); /* NULL: no */
	void *arg;
};

/* All that the object at @addr refers to. */
int lua_refs_each(const struct lua_refs *r, uint64_t addr, enum lua_kind kind, struct error *err);

/* Entries of a table: @key_tag as in lua_heap_key(), @number: of the array part, or of a key that
 * is an integer; else 0. @key and @value: what they refer to, or 0. */
struct lua_entry {
	uint64_t key, value, number;
	uint8_t key_tag;
};
int lua_refs_entries(struct lua_heap *h, uint64_t table,
                     int (*entry)(void *arg, const struct lua_entry *e, struct error *err),
                     void *arg, struct error *err);
