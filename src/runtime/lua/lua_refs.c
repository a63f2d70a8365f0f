/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_refs.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/lua/lua_stack.h"

enum {
	AT_ONCE = 64,
	FIELDS_MOST = 64, /* a table of more nodes is a dictionary, its keys are data */
	TAG_STRING = 4,   /* without the variant */
	TAG_INTEGER_53 = 3 | 1 << 4,
	TAG_INTEGER_54 = 3,
};

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t w;

	memcpy(&w, bytes, sizeof(w));
	return w;
}

static int tell(const struct lua_refs *r, uint64_t to, const char *label, struct error *err)
{
	uint32_t text = 0;
	int e = 0;

	if (!to)
		return 0;
	if (r->names)
		e = lua_names_text(r->names, label, &text, err);
	return e < 0 ? e : r->reference(r->arg, to, text, err);
}

static uint64_t word(const struct lua_refs *r, uint64_t at)
{
	return peek_word(r->heap->peek, at);
}

/* ---- tables ---- */

typedef int (*entry_fn)(void *arg, const struct lua_entry *e, struct error *err);

static int array_entries(struct lua_heap *h, const struct lua_table *t, entry_fn entry, void *arg,
                         struct error *err)
{
	const uint16_t each = h->layout->value_bytes;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < t->n_array;) {
		uint8_t values[AT_ONCE * LUA_VALUE_MOST];
		const uint64_t left = t->n_array - i, n = left < AT_ONCE ? left : AT_ONCE;

		if (!peek_read(h->peek, t->array + each * i, values, each * n)) {
			h->inconsistent++;
			return 0;
		}
		for (uint64_t k = 0; r == 0 && k < n; k++) {
			const struct lua_entry e = {
				.value = lua_heap_value(h, values + each * k),
				.number = i + k + 1,
			};

			if (e.value)
				r = entry(arg, &e, err);
		}
		i += n;
	}
	return r;
}

/* An integer key that is a place. Of a Lua with 32 bits only half of the word is its own, the rest
 * is what was there before, and nothing says which it is. 0: not known. */
static uint64_t integer_at(const uint8_t *bytes)
{
	const uint64_t n = word_at(bytes);

	return n >> 32 ? 0 : n;
}

static int node_entry(struct lua_heap *h, const uint8_t *node, entry_fn entry, void *arg,
                      struct error *err)
{
	struct lua_entry e = { .value = lua_heap_value(h, node) };

	if (!(lua_heap_tag(h, node) & 0x0f)) /* nil, empty: its key may be dead */
		return 0;
	e.key = lua_heap_key(h, node, &e.key_tag);
	if (e.key_tag == (h->layout->is_54 ? TAG_INTEGER_54 : TAG_INTEGER_53))
		e.number = integer_at(node + h->layout->value_bytes);
	return e.key || e.value ? entry(arg, &e, err) : 0;
}

static int node_entries(struct lua_heap *h, const struct lua_table *t, entry_fn entry, void *arg,
                        struct error *err)
{
	const uint16_t each = h->layout->node_bytes;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < t->n_nodes;) {
		uint8_t nodes[AT_ONCE * LUA_NODE_MOST];
		const uint64_t left = t->n_nodes - i, n = left < AT_ONCE ? left : AT_ONCE;

		if (!peek_read(h->peek, t->node + each * i, nodes, each * n)) {
			h->inconsistent++;
			return 0;
		}
		for (uint64_t k = 0; r == 0 && k < n; k++)
			r = node_entry(h, nodes + each * k, entry, arg, err);
		i += n;
	}
	return r;
}

int lua_refs_entries(struct lua_heap *h, uint64_t table, entry_fn entry, void *arg,
                     struct error *err)
{
	struct lua_table t;
	int r;

	if (!lua_heap_table(h, table, &t))
		return 0;
	r = array_entries(h, &t, entry, arg, err);
	return r < 0 ? r : node_entries(h, &t, entry, arg, err);
}

struct telling {
	const struct lua_refs *refs;
	enum lua_mode mode;
	bool has_fields;
	uint32_t element, key; /* texts */
};

/* Strings are values, and never weak (lgc.c, iscleared). */
static bool is_text(const struct lua_refs *r, uint64_t addr)
{
	uint8_t head[16];

	return addr && peek_read(r->heap->peek, addr, head, sizeof(head)) &&
	       (head[8] & 0x0f) == TAG_STRING;
}

static int tell_value(const struct telling *t, const struct lua_entry *e, struct error *err)
{
	const struct lua_refs *r = t->refs;
	uint32_t label = t->element;
	int x = 0;

	if (!e->value || (t->mode & LUA_WEAK_VALUES && !is_text(r, e->value)))
		return 0;
	if (t->has_fields && r->names && e->key && (e->key_tag & 0x0f) == TAG_STRING)
		x = lua_names_field(r->names, e->key, &label, err);
	return x < 0 ? x : r->reference(r->arg, e->value, label, err);
}

static int tell_entry(void *arg, const struct lua_entry *e, struct error *err)
{
	const struct telling *t = arg;
	const struct lua_refs *r = t->refs;
	const bool weak = t->mode & LUA_WEAK_KEYS && e->key && (e->key_tag & 0x0f) != TAG_STRING;
	int x = 0;

	if (weak)
		return t->mode == LUA_WEAK_KEYS && r->pair && e->value
		               ? r->pair(r->arg, e->key, e->value, err)
		               : 0;
	if (e->key)
		x = r->reference(r->arg, e->key, t->key, err);
	return x < 0 ? x : tell_value(t, e, err);
}

static int table_refs(const struct lua_refs *r, uint64_t addr, struct error *err)
{
	struct telling t = { .refs = r };
	struct lua_table table;
	int x = 0;

	if (!lua_heap_table(r->heap, addr, &table))
		return 0;
	t.mode = lua_heap_mode(r->heap, table.metatable);
	t.has_fields = table.n_nodes <= FIELDS_MOST;
	if (r->names)
		x = lua_names_text(r->names, "[…]", &t.element, err);
	if (x == 0 && r->names)
		x = lua_names_text(r->names, "[key]", &t.key, err);
	if (x == 0)
		x = array_entries(r->heap, &table, tell_entry, &t, err);
	if (x == 0)
		x = node_entries(r->heap, &table, tell_entry, &t, err);
	return x < 0 ? x : tell(r, table.metatable, "[metatable]", err);
}

/* ---- functions ---- */

static int upvalue_label(const struct lua_refs *r, uint64_t proto, uint64_t i, uint32_t *ret,
                         struct error *err)
{
	const struct lua_layout *l = r->heap->layout;
	uint64_t name = 0;
	uint32_t n = 0;
	char text[32];

	*ret = 0;
	if (!r->names)
		return 0;
	snprintf(text, sizeof(text), "upvalue %d", (int)i + 1);
	if (proto && peek_read(r->heap->peek, proto + 16, &n, sizeof(n)) && i < n)
		name = word(r, word(r, proto + l->upvalues) + 16 * i);
	return lua_names_string(r->names, name, text, ret, err);
}

static int closure_refs(const struct lua_refs *r, uint64_t addr, struct error *err)
{
	const uint64_t n = word(r, addr + 8) >> 16 & 0xff, proto = word(r, addr + 24);
	int x = tell(r, proto, "[code]", err);

	for (uint64_t i = 0; x == 0 && i < n; i++) {
		const uint64_t to = word(r, addr + 32 + 8 * i);
		uint32_t label;

		if (!to)
			continue;
		x = upvalue_label(r, proto, i, &label, err);
		if (x == 0)
			x = r->reference(r->arg, to, label, err);
	}
	return x;
}

static int value_at(const struct lua_refs *r, uint64_t at, const char *label, struct error *err)
{
	uint8_t value[LUA_VALUE_MOST];

	if (!peek_read(r->heap->peek, at, value, r->heap->layout->value_bytes))
		return 0;
	return tell(r, lua_heap_value(r->heap, value), label, err);
}

static int c_closure_refs(const struct lua_refs *r, uint64_t addr, struct error *err)
{
	const uint64_t n = word(r, addr + 8) >> 16 & 0xff;
	char text[32];
	int x = 0;

	for (uint64_t i = 0; x == 0 && i < n; i++) {
		snprintf(text, sizeof(text), "upvalue %d", (int)i + 1);
		x = value_at(r, addr + 32 + r->heap->layout->value_bytes * i, text, err);
	}
	return x;
}

/* @n words of @each bytes at the pointer at @at: names of variables, nested functions. */
static int pointers(const struct lua_refs *r, uint64_t at, uint64_t n, uint64_t each,
                    const char *label, struct error *err)
{
	const uint64_t from = word(r, at);
	int x = 0;

	for (uint64_t i = 0; x == 0 && from && i < n; i++)
		x = tell(r, word(r, from + each * i), label, err);
	return x;
}

static int proto_refs(const struct lua_refs *r, uint64_t addr, struct error *err)
{
	const struct lua_layout *l = r->heap->layout;
	const uint64_t constants = word(r, addr + l->constants);
	uint32_t n[6];
	int x;

	/* sizeupvalues, sizek, sizecode, sizelineinfo, sizep, sizelocvars */
	if (!peek_read(r->heap->peek, addr + 16, n, sizeof(n)))
		return 0;
	x = tell(r, word(r, addr + l->source), "[source]", err);
	for (uint32_t i = 0; x == 0 && i < n[1]; i++)
		x = value_at(r, constants + l->value_bytes * i, "[constant]", err);
	if (x == 0)
		x = pointers(r, addr + l->upvalues, n[0], 16, "[name]", err);
	if (x == 0)
		x = pointers(r, addr + l->protos, n[4], 8, "[function]", err);
	if (x == 0)
		x = pointers(r, addr + l->locals, n[5], 16, "[name]", err);
	return x;
}

/* ---- the others ---- */

/* v points to the value, in the upvalue itself or on a stack. */
static int upvalue_refs(const struct lua_refs *r, uint64_t addr, struct error *err)
{
	const uint64_t v = word(r, addr + (r->heap->layout->is_54 ? 16 : 0));

	return v ? value_at(r, v, "", err) : 0;
}

static int user_refs(const struct lua_refs *r, uint64_t addr, struct error *err)
{
	const struct lua_layout *l = r->heap->layout;
	const uint64_t head = word(r, addr + 8) >> 16;
	int x = tell(r, word(r, addr + l->user_metatable), "[metatable]", err);

	if (!l->is_54) /* 5.3: one, its tag in the header */
		return x == 0 && head & 0x40
		               ? tell(r, word(r, addr + l->user_values), "[user value]", err)
		               : x;
	for (uint64_t i = 0; x == 0 && i < (head & 0xffff); i++)
		x = value_at(r, addr + l->user_values + l->value_bytes * i, "[user value]", err);
	return x;
}

static int thread_refs(const struct lua_refs *r, uint64_t addr, struct error *err)
{
	const struct lua_layout *l = r->heap->layout;
	int x = lua_stack_each(r, addr, err);

	for (uint64_t at = word(r, addr + l->openupval), seen = 0;
	     x == 0 && at && seen < r->heap->total; seen += l->upvalue_bytes) {
		x = tell(r, at, "[open upvalue]", err);
		at = word(r, at + l->upvalue_next);
	}
	return x;
}

int lua_refs_each(const struct lua_refs *r, uint64_t addr, enum lua_kind kind, struct error *err)
{
	switch (kind) {
	case LUA_TABLE: return table_refs(r, addr, err);
	case LUA_CLOSURE: return closure_refs(r, addr, err);
	case LUA_C_CLOSURE: return c_closure_refs(r, addr, err);
	case LUA_USERDATA: return user_refs(r, addr, err);
	case LUA_COROUTINE: return thread_refs(r, addr, err);
	case LUA_PROTO: return proto_refs(r, addr, err);
	case LUA_UPVALUE: return upvalue_refs(r, addr, err);
	default: return 0;
	}
}
