/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_layout.h"

#include <string.h>

#include "base/cleanup.h"

#define PROTO_53                                                                                   \
	.proto_bytes = 120, .line_defined = 40, .constants = 48, .code = 56, .protos = 64,         \
	.line_info = 72, .locals = 80, .upvalues = 88, .source = 104, .line_bytes = 4
#define PROTO_54                                                                                   \
	.proto_bytes = 128, .line_defined = 44, .constants = 56, .code = 64, .protos = 72,         \
	.upvalues = 80, .line_info = 88, .absolute_lines = 96, .locals = 104, .source = 112,       \
	.line_bytes = 1
#define LISTS_53      .allgc = 88, .finobj = 104, .tobefnz = 152, .fixedgc = 160
#define LISTS_54      .allgc = 112, .finobj = 128, .tobefnz = 176, .fixedgc = 184
#define WIDE_LISTS_53 .allgc = 104, .finobj = 120, .tobefnz = 168, .fixedgc = 176
#define WIDE_LISTS_54 .allgc = 144, .finobj = 160, .tobefnz = 208, .fixedgc = 216
#define VALUES_53                                                                                  \
	LISTS_53, .value_bytes = 16, .node_bytes = 32, .upvalue_bytes = 32, .user_values = 32,     \
		  .user_bytes = 40
#define WIDE_53                                                                                    \
	WIDE_LISTS_53, .value_bytes = 32, .node_bytes = 64, .upvalue_bytes = 48,                   \
		       .user_values = 32, .user_bytes = 48
#define VALUES_54                                                                                  \
	LISTS_54, .value_bytes = 16, .node_bytes = 24, .upvalue_bytes = 40, .upvalue_next = 24,    \
		  .user_values = 40
#define WIDE_54                                                                                    \
	WIDE_LISTS_54, .value_bytes = 32, .node_bytes = 48, .upvalue_bytes = 64,                   \
		       .upvalue_next = 32, .user_values = 48
#define COMMON_53                                                                                  \
	PROTO_53, .state_bytes = 208, .stack_last = 48, .stack = 56, .openupval = 64,              \
		  .base_call = 96, .call_bytes = 72, .savedpc = 40, .callstatus = 66,              \
		  .upvalue_next = 16, .user_len = 24, .user_metatable = 16, .proto_tag = 9
#define COMMON_54                                                                                  \
	PROTO_54, .is_54 = true, .call_bytes = 64, .savedpc = 32, .callstatus = 62,                \
		  .string_head = 24, .user_bytes = 32, .user_len = 16, .user_metatable = 24,       \
		  .proto_tag = 10, .upvalue_tag = 9
/* lua_State, and the byte of Table */
#define STATE_543                                                                                  \
	COMMON_54, .state_bytes = 200, .stack_last = 40, .stack = 48, .openupval = 56,             \
		   .base_call = 96, .real_size = 10
#define STATE_541                                                                                  \
	COMMON_54, .state_bytes = 192, .stack_last = 40, .stack = 48, .openupval = 56,             \
		   .base_call = 88, .real_size = 10
#define STATE_540 /* the bit is in `marked` */                                                     \
	COMMON_54, .state_bytes = 200, .stack_last = 48, .stack = 56, .openupval = 64,             \
		   .base_call = 96, .real_size = 9

/* clang-format off */
static const struct lua_layout layouts[] = {
	{ .version = "5.4.3 to 5.4.9", STATE_543, VALUES_54, .main_thread = 264,
	  .global_bytes = { 1416 }, .basic_types = 480 },
	{ .version = "5.4.1, 5.4.2", STATE_541, VALUES_54, .main_thread = 264,
	  .global_bytes = { 1416, 1424 }, .basic_types = 480 },
	{ .version = "5.4.0", STATE_540, VALUES_54, .main_thread = 256,
	  .global_bytes = { 1416 }, .basic_types = 472 },
	/* the cache of strings had one column at first */
	{ .version = "5.3.1 to 5.3.6", COMMON_53, VALUES_53, .main_thread = 200,
	  .global_bytes = { 1336, 912, 488 }, .basic_types = 416, .string_head = 24 },
	{ .version = "5.3.0", COMMON_53, VALUES_53, .main_thread = 224, .global_bytes = { 512 },
	  .basic_types = 440, .string_head = 32, .buffer_bytes = 192 },
	/* long double */
	{ .version = "5.4.3 to 5.4.9", STATE_543, WIDE_54, .main_thread = 296,
	  .global_bytes = { 1456 }, .basic_types = 512 },
	{ .version = "5.4.1, 5.4.2", STATE_541, WIDE_54, .main_thread = 296,
	  .global_bytes = { 1456 }, .basic_types = 512 },
	{ .version = "5.4.0", STATE_540, WIDE_54, .main_thread = 288,
	  .global_bytes = { 1456 }, .basic_types = 504 },
	{ .version = "5.3.1 to 5.3.6", COMMON_53, WIDE_53, .main_thread = 216,
	  .global_bytes = { 1360, 936, 512 }, .basic_types = 432, .string_head = 32 },
};
/* clang-format on */

/* The first frame's function is the stack's first slot (lstate.c, stack_init), wherever the stack
 * is moved to. */
static bool has_stack(struct peek *p, const struct lua_layout *l, uint64_t thread)
{
	const uint64_t stack = peek_word(p, thread + l->stack);
	const uint64_t last = peek_word(p, thread + l->stack_last);
	const uint64_t top = peek_word(p, thread + 16);

	return stack && peek_word(p, thread + l->base_call) == stack && top >= stack &&
	       last >= stack && (last - stack) % l->value_bytes == 0 &&
	       (top - stack) % l->value_bytes == 0;
}

/* They are one block: where long doubles begin at 16, so does global_State. */
static bool is_behind(const struct lua_layout *l, const struct lua_state *s)
{
	const uint64_t behind = s->global - s->main_thread;

	return s->layout->is_wide ? behind >= l->state_bytes && behind < l->state_bytes + 16u
	                          : behind == l->state_bytes;
}

const struct lua_layout *lua_layout_find(struct peek *p, const struct lua_state *s)
{
	const bool is_54 = !strcmp(s->layout->version, "5.4");

	if (!is_54 && strcmp(s->layout->version, "5.3") != 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		const struct lua_layout *l = &layouts[i];

		if (l->is_54 == is_54 && l->main_thread == s->layout->main_thread &&
		    (l->value_bytes == LUA_VALUE_MOST) == s->layout->is_wide && is_behind(l, s) &&
		    has_stack(p, l, s->main_thread))
			return l;
	}
	return NULL;
}
