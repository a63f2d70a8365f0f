/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where the fields of Lua's objects are: lobject.h and lstate.h of 5.3.0 to 5.4.8 on machines
 * of 64 bits, made from the sources (5.3.2 to 5.3.6 and 5.4.0 to 5.4.9 but for 5.4.5, compiled,
 * each with double and long double numbers; 5.3.0 read). A state's own numbers tell which one it
 * is: how far its global_State lies behind the main thread, and whether the main thread's stack is
 * where it should be.
 */

#include <stdbool.h>
#include <stdint.h>

#include "runtime/lua/lua_state.h"
#include "runtime/peek.h"

enum { LUA_VALUE_MOST = 32, LUA_NODE_MOST = 64, LUA_MAX_GLOBALS = 3 };

struct lua_layout {
	const char *version;
	bool is_54;
	uint16_t value_bytes; /* TValue; its tag is in the middle */
	uint16_t state_bytes; /* lua_State */
	uint16_t main_thread; /* of global_State */
	/* what global_State may take: its end alone differs between releases */
	uint16_t global_bytes[LUA_MAX_GLOBALS];
	uint16_t allgc, finobj, tobefnz, fixedgc; /* of global_State: lists */
	uint16_t basic_types;                     /* mt[9]: metatables */
	uint16_t buffer_bytes;                    /* Mbuffer's size; 0: has none */
	/* lua_State */
	uint16_t stack_last, stack, openupval, base_call;
	/* CallInfo */
	uint16_t call_bytes, savedpc, callstatus;
	/* TString */
	uint16_t string_head;
	/* of Table: the byte whose highest bit says that alimit is not the array's size; 0: none */
	uint16_t real_size;
	uint16_t node_bytes, upvalue_bytes, upvalue_next; /* the next that is open */
	/* Proto, and how many bytes a line takes */
	uint16_t proto_bytes, line_defined, constants, code, protos, upvalues, line_info, locals,
		source, line_bytes;
	uint16_t absolute_lines; /* 0: has none */
	/* Udata */
	uint16_t user_len, user_metatable, user_values;
	uint16_t user_bytes; /* without values of its own */
	/* tags */
	uint8_t proto_tag, upvalue_tag; /* 0: upvalues are no objects of the collector */
};

/* The layout of state @s; NULL: none that is known. */
const struct lua_layout *lua_layout_find(struct peek *p, const struct lua_state *s);
