/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The graph of a Lua heap in memory that a hostile process has written: a sound state of 5.4
 * with an object of each kind, then damages of 10 bytes each: where (16 bits, in words) and the
 * word that is put there. However the lists, arrays and chains lead into one another, it ends,
 * and what it makes is a graph.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/lua/lua_graph.h"
#include "target/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES = 0x8000 };
#define HEAP 0x200000ull
#define CODE 0x400000ull

static const char maps_text[] = "200000-208000 rw-p 00000000 00:00 0 [heap]\n"
				"400000-401000 r-xp 00000000 08:01 7 /bin/x\n";

/* Where the objects are. */
enum {
	STATE = 0x100,
	GLOBAL = STATE + 200,
	STRINGS = 0x800,
	STACK = 0x900,
	STACK_END = STACK + 16 * 20,
	REGISTRY = 0xc00,
	REGISTRY_ARRAY = 0xc40,
	GLOBALS = 0xc80,
	GLOBALS_NODES = 0xcc0,
	KEY = 0xd80,
	FUNCTION = 0xe00,
	PROTO = 0xe80,
	UPVALUE = 0xf20,
	USER = 0xf80,
	META = 0x1000,
	META_NODE = 0x1040,
	MODE = 0x1080,
	MODE_VALUE = 0x10c0,
	THREAD = 0x1100,
	THREAD_STACK = 0x1200,
	CALL = 0x1400,
	C_FUNCTION = 0x1480,
	LOCALS = 0x1500,
	WEAK = 0x1540,
};

static void put(uint8_t *m, uint32_t at, uint64_t value, size_t bytes)
{
	memcpy(m + at, &value, bytes);
}

static void word(uint8_t *m, uint32_t at, uint64_t value)
{
	put(m, at, value, 8);
}

/* A value that the collector sees: @to with tag @tag. */
static void value(uint8_t *m, uint32_t at, uint32_t to, uint8_t tag)
{
	word(m, at, HEAP + to);
	put(m, at + 8, tag | 0x40u, 1);
}

static void object(uint8_t *m, uint32_t at, uint8_t tag, uint32_t next)
{
	word(m, at, next ? HEAP + next : 0);
	put(m, at + 8, tag, 1);
}

static void string(uint8_t *m, uint32_t at, const char *text, uint32_t next)
{
	object(m, at, 4, next);
	put(m, at + 11, strlen(text), 1);
	memcpy(m + at + 24, text, strlen(text));
}

static void table(uint8_t *m, uint32_t at, uint32_t array, uint32_t n, uint32_t node, uint8_t log2,
                  uint32_t next)
{
	object(m, at, 5, next);
	put(m, at + 11, log2, 1);
	put(m, at + 12, n, 4);
	word(m, at + 16, array ? HEAP + array : 0);
	word(m, at + 24, node ? HEAP + node : 0);
	word(m, at + 32, node ? HEAP + node : 0);
}

static void node(uint8_t *m, uint32_t at, uint32_t key, uint32_t to, uint8_t tag)
{
	value(m, at, to, tag);
	put(m, at + 9, 0x44, 1);
	word(m, at + 16, HEAP + key);
}

static void thread(uint8_t *m, uint32_t at, uint32_t stack, uint32_t end, uint32_t top,
                   uint32_t call, uint32_t next)
{
	object(m, at, 8, next);
	word(m, at + 16, HEAP + top);
	word(m, at + 24, HEAP + GLOBAL);
	word(m, at + 32, HEAP + (call ? call : at + 96));
	word(m, at + 40, HEAP + end);
	word(m, at + 48, HEAP + stack);
	word(m, at + 96, HEAP + stack);
	put(m, at + 96 + 62, 2, 2);
	word(m, at + 96 + 24, call ? HEAP + call : 0);
}

static void state(uint8_t *m)
{
	thread(m, STATE, STACK, STACK_END, STACK + 32, 0, 0);
	value(m, STACK + 16, WEAK, 5);
	word(m, GLOBAL, CODE + 16);
	word(m, GLOBAL + 16, 0x3000);
	word(m, GLOBAL + 48, HEAP + STRINGS);
	put(m, GLOBAL + 56, 3, 4);
	put(m, GLOBAL + 60, 4, 4);
	value(m, GLOBAL + 64, REGISTRY, 5);
	word(m, GLOBAL + 112, HEAP + REGISTRY);
	word(m, GLOBAL + 128, HEAP + USER);
	word(m, GLOBAL + 184, HEAP + MODE);
	word(m, GLOBAL + 264, HEAP + STATE);
	word(m, STRINGS, HEAP + KEY);
	word(m, KEY + 16, HEAP + MODE);
	word(m, MODE + 16, HEAP + MODE_VALUE);
}

static void objects(uint8_t *m)
{
	table(m, REGISTRY, REGISTRY_ARRAY, 2, 0, 0, GLOBALS);
	value(m, REGISTRY_ARRAY, STATE, 8);
	value(m, REGISTRY_ARRAY + 16, GLOBALS, 5);
	table(m, GLOBALS, 0, 0, GLOBALS_NODES, 2, KEY);
	node(m, GLOBALS_NODES, KEY, FUNCTION, 6);
	node(m, GLOBALS_NODES + 24, MODE, USER, 7);
	node(m, GLOBALS_NODES + 48, MODE_VALUE, THREAD, 8);
	node(m, GLOBALS_NODES + 72, KEY, C_FUNCTION, 0x26);
	string(m, KEY, "name", FUNCTION);
	object(m, FUNCTION, 6, PROTO);
	put(m, FUNCTION + 10, 1, 1);
	word(m, FUNCTION + 24, HEAP + PROTO);
	word(m, FUNCTION + 32, HEAP + UPVALUE);
	object(m, PROTO, 10, UPVALUE);
	put(m, PROTO + 36, 1, 4);
	word(m, PROTO + 104, HEAP + LOCALS);
	word(m, PROTO + 112, HEAP + KEY);
	word(m, LOCALS, HEAP + KEY);
	put(m, LOCALS + 12, 100, 4);
	object(m, UPVALUE, 9, META);
	word(m, UPVALUE + 16, HEAP + UPVALUE + 24);
	value(m, UPVALUE + 24, GLOBALS, 5);
	table(m, META, 0, 0, META_NODE, 0, MODE_VALUE);
	node(m, META_NODE, MODE, MODE_VALUE, 4);
	string(m, MODE_VALUE, "k", THREAD);
	thread(m, THREAD, THREAD_STACK, THREAD_STACK + 64, THREAD_STACK + 48, CALL, C_FUNCTION);
	value(m, THREAD_STACK + 16, FUNCTION, 6);
	value(m, THREAD_STACK + 32, META, 5);
	word(m, CALL, HEAP + THREAD_STACK + 16);
	word(m, CALL + 8, HEAP + THREAD_STACK + 48);
	object(m, C_FUNCTION, 0x26, WEAK);
	put(m, C_FUNCTION + 10, 1, 1);
	value(m, C_FUNCTION + 32, USER, 7);
	table(m, WEAK, 0, 0, GLOBALS_NODES, 2, 0);
	word(m, WEAK + 40, HEAP + META);
	object(m, USER, 7, 0);
	put(m, USER + 10, 1, 2);
	word(m, USER + 24, HEAP + META);
	value(m, USER + 40, THREAD, 8);
	string(m, MODE, "__mode", 0);
}

static void damage(uint8_t *m, const uint8_t *data, size_t size)
{
	for (; size >= 10; data += 10, size -= 10)
		memcpy(m + 8 * ((data[0] | data[1] << 8) % (BYTES / 8)), data + 2, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *m = calloc(1, BYTES);
	cleanup(peek_close) struct peek p = { 0 };
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(lua_account_clear) struct lua_account account = { 0 };
	const struct peek_piece piece = { HEAP, HEAP + BYTES, m };
	struct lua_state s;
	struct error err;

	if (!m || maps_parse(maps_text, strlen(maps_text), &maps, &err) < 0 ||
	    peek_open_pieces(&p, &piece, 1, &err) < 0)
		return 0;
	state(m);
	objects(m);
	damage(m, data, size);
	if (!lua_state_at(&p, &maps, HEAP + STATE, &s))
		return 0;
	s.bytes = peek_word(&p, s.global + 16) + peek_word(&p, s.global + 24);
	const struct lua_graph_from from = { &p, NULL, BYTES, NULL, &account };

	if (lua_graph_add(&from, &s, 0, &g, &err) < 0)
		return 0;
	if (object_graph_finish(&g, &err) < 0 || g.n_nodes > 2 * BYTES / 8)
		abort();
	for (size_t i = 0; i < g.n_nodes; i++)
		if (!object_graph_size(&g, (uint32_t)i) &&
		    g.address[i] != peek_word(&p, s.global + 48))
			abort();
	if (!size && (g.n_nodes < 15 || g.garbage_bytes))
		abort();
	return 0;
}
