/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_stack.h"

#include <string.h>

#include "base/cleanup.h"

enum {
	MAX_SLOTS = 1 << 20,  /* LUAI_MAXSTACK is 1,000,000 */
	MAX_LOCALS = 256,     /* MAXVARS is 200 */
	MAX_DESCRIBED = 4096, /* variables of one function */
	CIST_BIT = 2,         /* 5.3: a Lua function; 5.4: a C function */
};

struct walk {
	const struct lua_refs *refs;
	uint64_t stack, limit; /* slots are looked at up to there */
	uint64_t call;         /* CallInfo of the frame */
	uint64_t base;         /* its first variable; 0: it has none */
	uint32_t locals[MAX_LOCALS];
	uint32_t n_locals;
	uint32_t function, slot; /* texts */
};

static uint64_t word(const struct walk *w, uint64_t at)
{
	return peek_word(w->refs->heap->peek, at);
}

static bool is_lua(const struct walk *w, uint64_t call)
{
	const struct lua_layout *l = w->refs->heap->layout;
	uint16_t status = 0;

	peek_read(w->refs->heap->peek, call + l->callstatus, &status, sizeof(status));
	return l->is_54 ? !(status & CIST_BIT) : status & CIST_BIT;
}

/* lfunc.c, luaF_getlocalname: those whose range has the pc, in the order of their registers. */
static int find_locals(struct walk *w, uint64_t proto, int64_t pc, struct error *err)
{
	const struct lua_layout *l = w->refs->heap->layout;
	struct lua_names *names = w->refs->names;
	const uint64_t at = word(w, proto + l->locals);
	uint32_t n = 0;
	int r = 0;

	peek_read(w->refs->heap->peek, proto + 36, &n, sizeof(n));
	for (uint32_t i = 0; r == 0 && i < n && i < MAX_DESCRIBED && w->n_locals < MAX_LOCALS;
	     i++) {
		struct {
			uint64_t name;
			int32_t start, end;
		} v;

		if (!names->variables_left ||
		    !peek_read(w->refs->heap->peek, at + sizeof(v) * i, &v, sizeof(v)) ||
		    v.start > pc)
			break;
		names->variables_left--;
		if (pc < v.end)
			r = lua_names_string(names, v.name, "[stack]", &w->locals[w->n_locals++],
			                     err);
	}
	return r;
}

/* The frame of @call: where its variables are. */
static int enter(struct walk *w, uint64_t call, struct error *err)
{
	const struct lua_layout *l = w->refs->heap->layout;
	const uint64_t func = word(w, call);
	uint8_t value[LUA_VALUE_MOST];
	uint64_t closure, proto;

	w->call = call;
	w->n_locals = 0;
	w->base = 0;
	if (!w->refs->names || !is_lua(w, call) ||
	    !peek_read(w->refs->heap->peek, func, value, l->value_bytes))
		return 0;
	closure = lua_heap_value(w->refs->heap, value);
	if ((lua_heap_tag(w->refs->heap, value) & 0x3f) != 6 || !closure)
		return 0;
	proto = word(w, closure + 24);
	w->base = l->is_54 ? func + l->value_bytes : word(w, call + 32);
	return find_locals(w, proto,
	                   (int64_t)(word(w, call + l->savedpc) - word(w, proto + l->code)) / 4 - 1,
	                   err);
}

static int tell(struct walk *w, uint64_t slot, uint64_t value, struct error *err)
{
	const uint64_t place = (slot - w->base) / w->refs->heap->layout->value_bytes;
	uint32_t label = w->slot;

	if (slot == word(w, w->call))
		label = w->function;
	else if (w->base && slot >= w->base && place < w->n_locals)
		label = w->locals[place];
	return w->refs->reference(w->refs->arg, value, label, err);
}

static int walk_slots(struct walk *w, uint64_t thread, struct error *err)
{
	const struct lua_layout *l = w->refs->heap->layout;
	const uint64_t last = word(w, thread + 32);
	int r = enter(w, thread + l->base_call, err);

	for (uint64_t at = w->stack; r == 0 && at < w->limit; at += l->value_bytes) {
		uint8_t value[LUA_VALUE_MOST];
		uint64_t next = w->call == last ? 0 : word(w, w->call + 24);

		if (next && word(w, next) == at)
			r = enter(w, next, err);
		if (r < 0 || !peek_read(w->refs->heap->peek, at, value, l->value_bytes))
			break;
		if (lua_heap_value(w->refs->heap, value))
			r = tell(w, at, lua_heap_value(w->refs->heap, value), err);
	}
	return r;
}

int lua_stack_each(const struct lua_refs *refs, uint64_t addr, struct error *err)
{
	struct walk w = { .refs = refs };
	const struct lua_layout *l = refs->heap->layout;
	const uint64_t call = word(&w, addr + 32), end = word(&w, addr + l->stack_last);
	int r = 0;

	w.stack = word(&w, addr + l->stack);
	w.limit = word(&w, addr + 16);
	/* a function of Lua that runs uses its registers up to its own top */
	if (call && is_lua(&w, call) && word(&w, call + 8) > w.limit)
		w.limit = word(&w, call + 8);
	if (w.limit > end + LUA_EXTRA_STACK * l->value_bytes ||
	    w.limit - w.stack > (uint64_t)MAX_SLOTS * l->value_bytes)
		w.limit = w.stack;
	if (refs->names)
		r = lua_names_text(refs->names, "[function]", &w.function, err);
	if (r == 0 && refs->names)
		r = lua_names_text(refs->names, "[stack]", &w.slot, err);
	return r < 0 ? r : walk_slots(&w, addr, err);
}
