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
#define LISTS_53 .allgc = 88, .finobj = 104, .tobefnz = 152, .fixedgc = 160
#define LISTS_54 .allgc = 112, .finobj = 128, .tobefnz = 176, .fixedgc = 184
#define COMMON_53                                                                                  \
	LISTS_53, PROTO_53, .state_bytes = 208, .stack_last = 48, .stack = 56, .openupval = 64,    \
			    .base_call = 96, .call_bytes = 72, .savedpc = 40, .callstatus = 66,    \
			    .node_bytes = 32, .upvalue_bytes = 32, .user_len = 24,                 \
			    .user_metatable = 16, .proto_tag = 9
#define COMMON_54   SAME_54, .main_thread = 264, .basic_types = 480
#define COMMON_54_0 SAME_54, .main_thread = 256, .basic_types = 472
#define SAME_54                                                                                    \
	LISTS_54, PROTO_54, .is_54 = true, .call_bytes = 64, .savedpc = 32, .callstatus = 62,      \
			    .string_head = 24, .node_bytes = 24, .upvalue_bytes = 40,              \
			    .user_len = 16, .user_metatable = 24, .proto_tag = 10,                 \
			    .upvalue_tag = 9

/* clang-format off */
static const struct lua_layout layouts[] = {
	{ .version = "5.4.3 to 5.4.8", COMMON_54, .state_bytes = 200, .global_bytes = { 1416 },
	  .stack_last = 40, .stack = 48, .openupval = 56, .base_call = 96, .real_size = 10 },
	{ .version = "5.4.1, 5.4.2", COMMON_54, .state_bytes = 192, .global_bytes = { 1416, 1424 },
	  .stack_last = 40, .stack = 48, .openupval = 56, .base_call = 88, .real_size = 10 },
	/* the bit is in `marked` */
	{ .version = "5.4.0", COMMON_54_0, .state_bytes = 200, .global_bytes = { 1416 },
	  .stack_last = 48, .stack = 56, .openupval = 64, .base_call = 96, .real_size = 9 },
	/* the cache of strings had one column at first */
	{ .version = "5.3.1 to 5.3.6", COMMON_53, .main_thread = 200,
	  .global_bytes = { 1336, 912, 488 }, .basic_types = 416, .string_head = 24 },
	{ .version = "5.3.0", COMMON_53, .main_thread = 224, .global_bytes = { 512 },
	  .basic_types = 440, .string_head = 32, .buffer_bytes = 192 },
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
	       last >= stack && (last - stack) % LUA_VALUE_BYTES == 0 &&
	       (top - stack) % LUA_VALUE_BYTES == 0;
}

const struct lua_layout *lua_layout_find(struct peek *p, const struct lua_state *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		const struct lua_layout *l = &layouts[i];

		if (l->is_54 == !strcmp(s->layout->version, "5.4") &&
		    (l->is_54 || !strcmp(s->layout->version, "5.3")) &&
		    s->global - s->main_thread == l->state_bytes &&
		    l->main_thread == s->layout->main_thread && has_stack(p, l, s->main_thread))
			return l;
	}
	return NULL;
}
