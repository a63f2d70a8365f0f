/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_heap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "runtime/lua/lua_own.h"

enum {
	COLLECTED = 0x40,  /* BIT_ISCOLLECTABLE */
	SLACK = 1 << 16,   /* what a state in the middle of its work may be wrong by */
	MOST_UNKNOWN = 16, /* objects of a list that are passed over */
	MAX_MODE = 16,
	SPECIAL = 0x80,
};

void lua_heap_close(struct lua_heap *h)
{
	free(h->objects);
	free(h->waiting);
	hash_map_clear(&h->modes);
	*h = (struct lua_heap){ 0 };
}

/* ---- values ---- */

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t w;

	memcpy(&w, bytes, sizeof(w));
	return w;
}

static uint32_t half_at(const uint8_t *bytes)
{
	uint32_t w;

	memcpy(&w, bytes, sizeof(w));
	return w;
}

uint8_t lua_heap_tag(const struct lua_heap *h, const uint8_t *bytes)
{
	return bytes[h->layout->value_bytes / 2];
}

uint64_t lua_heap_value(const struct lua_heap *h, const uint8_t *bytes)
{
	return lua_heap_tag(h, bytes) & COLLECTED ? word_at(bytes) : 0;
}

uint64_t lua_heap_key(const struct lua_heap *h, const uint8_t *node, uint8_t *ret_tag)
{
	/* 5.4: behind the tag of the value; 5.3: a value like it */
	const uint16_t value = h->layout->value_bytes;
	const uint8_t tag = h->layout->is_54 ? node[value / 2 + 1] : node[value + value / 2];

	*ret_tag = tag & 0x3f;
	return tag & COLLECTED ? word_at(node + value) : 0;
}

static enum lua_kind kind_of(const struct lua_layout *l, uint8_t tag)
{
	switch (tag) {
	case 0x04: return LUA_SHORT_STRING;
	case 0x14: return LUA_LONG_STRING;
	case 0x05: return LUA_TABLE;
	case 0x06: return LUA_CLOSURE;
	case 0x26: return LUA_C_CLOSURE;
	case 0x07: return LUA_USERDATA;
	case 0x08: return LUA_COROUTINE;
	default: break;
	}
	if (tag == l->proto_tag)
		return LUA_PROTO;
	return l->upvalue_tag && tag == l->upvalue_tag ? LUA_UPVALUE : LUA_NONE;
}

/* ---- sizes ---- */

static uint64_t power_behind(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p *= 2;
	return n ? p : 0;
}

/* Up to 5.3.3 an empty table's "last" is the node that all of them share (ltable.c, dummynode). A
 * table's own node that was passed has a key. */
static bool is_shared_node(struct lua_heap *h, uint64_t node)
{
	const uint16_t value = h->layout->value_bytes;
	uint8_t tag;

	return peek_read(h->peek, node + value + value / 2, &tag, 1) && !(tag & 0x0f);
}

bool lua_heap_table(struct lua_heap *h, uint64_t addr, struct lua_table *ret)
{
	const struct lua_layout *l = h->layout;
	uint8_t t[LUA_TABLE_BYTES];
	uint64_t last_free;

	if (!peek_read(h->peek, addr, t, sizeof(t)) || t[11] > 40)
		return false;
	*ret = (struct lua_table){
		.array = word_at(t + 16),
		.n_array = half_at(t + 12),
		.node = word_at(t + 24),
		.n_nodes = 1ull << t[11],
		.metatable = word_at(t + 40),
	};
	/* ltable.c, luaH_realasize */
	if (l->real_size && t[l->real_size] & 0x80)
		ret->n_array = power_behind(ret->n_array);
	last_free = word_at(t + 32);
	if (!last_free ||
	    (!l->is_54 && t[11] == 0 && last_free == ret->node && is_shared_node(h, ret->node)))
		ret->n_nodes = 0;
	return ret->n_array <= h->total / l->value_bytes &&
	       ret->n_nodes <= h->total / l->node_bytes;
}

static uint64_t table_size(struct lua_heap *h, uint64_t addr)
{
	struct lua_table t;

	if (!lua_heap_table(h, addr, &t))
		return 0;
	h->has_ephemerons |= lua_heap_mode(h, t.metatable) == LUA_WEAK_KEYS;
	return LUA_TABLE_BYTES + h->layout->value_bytes * t.n_array +
	       h->layout->node_bytes * t.n_nodes;
}

static uint64_t string_size(const struct lua_heap *h, const uint8_t *head, enum lua_kind kind)
{
	uint64_t len = word_at(head + 16);

	if (kind == LUA_SHORT_STRING && !h->layout->buffer_bytes) /* as of 5.3.1 */
		len = head[11];
	return len > h->total ? 0 : h->layout->string_head + len + 1;
}

static uint64_t user_size(struct lua_heap *h, uint64_t addr)
{
	const struct lua_layout *l = h->layout;
	const uint64_t len = peek_word(h->peek, addr + l->user_len);
	uint64_t n = 0;

	if (len > h->total)
		return 0;
	if (!l->is_54)
		return l->user_bytes + len;
	n = peek_word(h->peek, addr + 8) >> 16 & 0xffff;
	return (n ? l->user_values + l->value_bytes * n : l->user_bytes) + len;
}

/* lstate.c: the thread with the space before it, its stack, and the CallInfos behind the first. */
static uint64_t thread_size(struct lua_heap *h, uint64_t addr)
{
	const struct lua_layout *l = h->layout;
	const uint64_t stack = peek_word(h->peek, addr + l->stack);
	const uint64_t last = peek_word(h->peek, addr + l->stack_last);
	uint64_t bytes = l->state_bytes + h->extra_space;

	if (stack && last >= stack && last - stack <= h->total)
		bytes += last - stack + LUA_EXTRA_STACK * l->value_bytes;
	for (uint64_t at = peek_word(h->peek, addr + l->base_call + 24); at && bytes <= h->total;
	     at = peek_word(h->peek, at + 24))
		bytes += l->call_bytes;
	return bytes <= h->total ? bytes : 0;
}

static uint64_t proto_size(struct lua_heap *h, uint64_t addr)
{
	const struct lua_layout *l = h->layout;
	uint64_t bytes = l->proto_bytes;
	const uint64_t each[] = { 16, l->value_bytes, 4, l->line_bytes, 8, 16, 8 };
	const size_t n = l->absolute_lines ? 7 : 6;
	uint32_t sizes[7];

	/* sizeupvalues, sizek, sizecode, sizelineinfo, sizep, sizelocvars, sizeabslineinfo */
	if (!peek_read(h->peek, addr + 16, sizes, sizeof(sizes)))
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (sizes[i] > h->total)
			return 0;
		bytes += each[i] * sizes[i];
	}
	return bytes;
}

uint64_t lua_heap_size(struct lua_heap *h, uint64_t addr, enum lua_kind kind)
{
	uint8_t head[24];

	switch (kind) {
	case LUA_TABLE: return table_size(h, addr);
	case LUA_USERDATA: return user_size(h, addr);
	case LUA_COROUTINE: return thread_size(h, addr);
	case LUA_PROTO: return proto_size(h, addr);
	case LUA_UPVALUE: return h->layout->upvalue_bytes;
	case LUA_GLOBAL_STATE: return h->global_bytes;
	case LUA_STRING_TABLE: return 8 * (peek_word(h->peek, h->global + 56) >> 32);
	default: break;
	}
	if (!peek_read(h->peek, addr, head, sizeof(head)))
		return 0;
	if (kind == LUA_CLOSURE)
		return 32 + 8ull * head[10];
	if (kind == LUA_C_CLOSURE)
		return 32 + (uint64_t)h->layout->value_bytes * head[10];
	return kind == LUA_NONE ? 0 : string_size(h, head, kind);
}

/* ---- looking things up ---- */

int64_t lua_heap_string(struct lua_heap *h, uint64_t addr, char *buf, size_t size)
{
	uint8_t head[24];
	enum lua_kind kind;
	uint64_t bytes;

	if (!peek_read(h->peek, addr, head, sizeof(head)))
		return -1;
	kind = kind_of(h->layout, head[8]);
	if (kind != LUA_SHORT_STRING && kind != LUA_LONG_STRING)
		return -1;
	bytes = string_size(h, head, kind);
	if (!bytes)
		return -1;
	bytes -= h->layout->string_head + 1u;
	if (bytes > size - 1)
		bytes = size - 1;
	if (bytes && !peek_read(h->peek, addr + h->layout->string_head, buf, bytes))
		return -1;
	buf[bytes] = '\0';
	return (int64_t)bytes;
}

uint64_t lua_heap_field(struct lua_heap *h, uint64_t table, const char *key, uint64_t most)
{
	const uint16_t each = h->layout->node_bytes;
	struct lua_table t;

	if (!lua_heap_table(h, table, &t))
		return 0;
	for (uint64_t i = 0; i < t.n_nodes && i < most; i++) {
		uint8_t node[LUA_NODE_MOST], tag;
		char text[32];
		uint64_t name;

		if (!peek_read(h->peek, t.node + i * each, node, each))
			return 0;
		name = lua_heap_key(h, node, &tag);
		if (name && tag == 0x04 && lua_heap_value(h, node) &&
		    lua_heap_string(h, name, text, sizeof(text)) == (int64_t)strlen(key) &&
		    !strcmp(text, key))
			return lua_heap_value(h, node);
	}
	return 0;
}

enum lua_mode lua_heap_mode(struct lua_heap *h, uint64_t metatable)
{
	enum lua_mode mode = LUA_STRONG;
	char text[MAX_MODE];
	struct error unused;
	uint64_t *found, at;

	if (!metatable)
		return LUA_STRONG;
	found = hash_map_get(&h->modes, metatable);
	if (found)
		return (enum lua_mode) * found;
	at = lua_heap_field(h, metatable, "__mode", LUA_META_NODES);
	if (at && lua_heap_string(h, at, text, sizeof(text)) > 0) {
		mode |= strchr(text, 'k') ? LUA_WEAK_KEYS : LUA_STRONG;
		mode |= strchr(text, 'v') ? LUA_WEAK_VALUES : LUA_STRONG;
	}
	hash_map_put(&h->modes, metatable, mode, &unused);
	return mode;
}

size_t lua_heap_find(const struct lua_heap *h, uint64_t addr)
{
	size_t at;

	if (!addr || addr >> 48)
		return SIZE_MAX;
	at = partition_point(h->n_objects, i, h->objects[i] >> 8 < addr);
	return at < h->n_objects && h->objects[at] >> 8 == addr ? at : SIZE_MAX;
}

/* ---- lists ---- */

static int add(struct lua_heap *h, uint64_t addr, enum lua_kind kind, bool special,
               struct error *err)
{
	int r;

	if (h->n_objects >= UINT32_MAX - 1)
		return error_set(err, E2BIG, "more than 4 thousand million objects");
	r = array_reserve(&h->objects, &h->cap_objects, h->n_objects + 1, err);
	if (r == 0)
		h->objects[h->n_objects++] = addr << 8 | (special ? SPECIAL : 0) | (uint8_t)kind;
	return r;
}

/* 5.3: counted by references and in no list; found where functions and stacks have them. */
static int add_upvalues(struct lua_heap *h, uint64_t addr, enum lua_kind kind, struct error *err)
{
	const uint64_t n = kind == LUA_CLOSURE ? peek_word(h->peek, addr + 8) >> 16 & 0xff : 0;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < n; i++) {
		const uint64_t at = peek_word(h->peek, addr + 32 + 8 * i);

		if (at && at >> 48 == 0)
			r = add(h, at, LUA_UPVALUE, false, err);
	}
	if (kind != LUA_COROUTINE)
		return r;
	for (uint64_t at = peek_word(h->peek, addr + h->layout->openupval);
	     r == 0 && at && at >> 48 == 0 && h->open_bytes < h->total;
	     h->open_bytes += h->layout->upvalue_bytes) {
		r = add(h, at, LUA_UPVALUE, false, err);
		at = peek_word(h->peek, at + h->layout->upvalue_next);
	}
	return r;
}

static int note_waiting(struct lua_heap *h, uint64_t addr, struct error *err)
{
	int r = array_reserve(&h->waiting, &h->cap_waiting, h->n_waiting + 1, err);

	if (r == 0)
		h->waiting[h->n_waiting++] = addr;
	return r;
}

static int add_one(struct lua_heap *h, uint64_t at, uint8_t tag, enum lua_list list,
                   struct error *err)
{
	const enum lua_kind kind = kind_of(h->layout, tag);
	const uint64_t size = kind ? lua_heap_size(h, at, kind) : 0;
	int r;

	if (!size || size > h->total) {
		h->inconsistent++;
		return 0;
	}
	h->sum += size;
	h->n_threads += kind == LUA_COROUTINE;
	h->has_main |= at == h->main_thread;
	r = add(h, at, kind, list == LUA_FIXEDGC || at == h->main_thread, err);
	if (r == 0 && list == LUA_TOBEFNZ)
		r = note_waiting(h, at, err);
	if (r == 0 && !h->layout->upvalue_tag)
		r = add_upvalues(h, at, kind, err);
	return r < 0 ? r : 1;
}

/* The sum bounds it: a list in a ring, or many objects in one another's place, end soon. An object
 * whose size cannot be told is passed over: luaC_newobj() (lgc.c) puts it into the list before its
 * maker has filled it, and a copy may be of that moment. */
static int walk(struct lua_heap *h, uint64_t at, enum lua_list list, struct error *err)
{
	const uint64_t before = h->inconsistent;
	int r = 1;

	while (at && r >= 0 && h->inconsistent - before < MOST_UNKNOWN &&
	       h->sum <= h->total + h->total / 16 + SLACK) {
		uint8_t head[16];

		if (at % 8 || at >> 48 || !peek_read(h->peek, at, head, sizeof(head))) {
			h->inconsistent++;
			return 0;
		}
		r = add_one(h, at, head[8], list, err);
		at = word_at(head);
	}
	return r < 0 ? r : 0;
}

static int by_word(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Upvalues of 5.3 were met many times; anything else that was is a contradiction. */
static void sort(struct lua_heap *h)
{
	size_t n = 0;

	if (h->n_objects)
		qsort(h->objects, h->n_objects, sizeof(*h->objects), by_word);
	for (size_t i = 0; i < h->n_objects; i++) {
		if (n && h->objects[n - 1] >> 8 == h->objects[i] >> 8) {
			h->inconsistent += lua_heap_kind(h, i) != LUA_UPVALUE;
			continue;
		}
		h->objects[n++] = h->objects[i];
		if (!h->layout->upvalue_tag && lua_heap_kind(h, n - 1) == LUA_UPVALUE)
			h->sum += h->layout->upvalue_bytes;
	}
	h->n_objects = n;
}

/* ---- opening ---- */

static void mark_special(struct lua_heap *h, uint64_t addr)
{
	const size_t at = lua_heap_find(h, addr);

	if (at != SIZE_MAX)
		h->objects[at] |= SPECIAL;
}

/* lua.h: LUA_RIDX_MAINTHREAD 1, LUA_RIDX_GLOBALS 2; lauxlib.h: "_LOADED". */
static void find_tables(struct lua_heap *h)
{
	struct lua_table t;
	uint8_t value[LUA_VALUE_MOST];
	const uint16_t each = h->layout->value_bytes;

	h->registry = peek_word(h->peek, h->global + 64);
	if (!lua_heap_table(h, h->registry, &t))
		return;
	if (t.n_array >= 2 && peek_read(h->peek, t.array + each, value, each))
		h->globals = lua_heap_value(h, value);
	h->loaded = lua_heap_field(h, h->registry, "_LOADED", UINT64_MAX);
}

/* Since 5.4.3 the main thread is in allgc. */
static int add_main(struct lua_heap *h, struct error *err)
{
	int r = add(h, h->main_thread, LUA_COROUTINE, true, err);

	h->sum += thread_size(h, h->main_thread);
	h->n_threads++;
	return r == 0 && !h->layout->upvalue_tag
	               ? add_upvalues(h, h->main_thread, LUA_COROUTINE, err)
	               : r;
}

/* The state's own block, its table of strings, and 5.3.0's buffer. */
static int add_own(struct lua_heap *h, struct error *err)
{
	const struct lua_layout *l = h->layout;
	const uint64_t strings = peek_word(h->peek, h->global + 48);
	int r = add(h, h->global, LUA_GLOBAL_STATE, true, err);

	if (r == 0 && strings && strings >> 48 == 0)
		r = add(h, strings, LUA_STRING_TABLE, true, err);
	h->sum += lua_heap_size(h, strings, LUA_STRING_TABLE);
	if (l->buffer_bytes)
		h->sum += peek_word(h->peek, h->global + l->buffer_bytes);
	if (r == 0 && !h->has_main)
		r = add_main(h, err);
	sort(h);
	lua_own_find(h);
	return r;
}

/* A number type of another size, or a patched Lua, is seen by its sum. */
static int check(const struct lua_heap *h, struct error *err)
{
	const uint64_t off = h->sum > h->total ? h->sum - h->total : h->total - h->sum;

	if (off <= h->total / 16 + SLACK && lua_heap_find(h, h->registry) != SIZE_MAX)
		return 0;
	error_set(err, ENOTSUP,
	          "the Lua inside is laid out in a way that is not known: %" PRIu64
	          " bytes of objects were found, its own count is %" PRIu64,
	          h->sum, h->total);
	return error_hint(err,
	                  "refs knows Lua 5.3 and 5.4 as released, on 64 bits: not with numbers "
	                  "of another size, nor patched in their objects");
}

int lua_heap_open(struct peek *p, const struct lua_state *s, uint64_t most, struct lua_heap *ret,
                  struct error *err)
{
	cleanup(lua_heap_close) struct lua_heap h = {
		.peek = p,
		.layout = lua_layout_find(p, s),
		.main_thread = s->main_thread,
		.global = s->global,
		.total = s->bytes,
		.extra_space = LUA_EXTRA_SPACE,
	};
	const struct lua_layout *l = h.layout;
	int r = 0;

	if (!l || h.total > most) {
		error_set(err, ENOTSUP, "a Lua %s is inside whose layout is not known",
		          s->layout->version);
		return error_hint(err, "refs knows Lua 5.3 and 5.4 as released, on 64 bits");
	}
	const uint16_t lists[LUA_LISTS] = { l->allgc, l->finobj, l->tobefnz, l->fixedgc };

	for (size_t i = 0; r == 0 && i < LUA_LISTS; i++)
		r = walk(&h, peek_word(p, s->global + lists[i]), (enum lua_list)i, err);
	if (r == 0)
		r = add_own(&h, err);
	if (r < 0)
		return r;
	find_tables(&h);
	r = check(&h, err);
	mark_special(&h, h.registry);
	mark_special(&h, h.globals);
	mark_special(&h, h.loaded);
	if (r < 0)
		return r;
	*ret = h;
	h = (struct lua_heap){ 0 };
	return 0;
}
