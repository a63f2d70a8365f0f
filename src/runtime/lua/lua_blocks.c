/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_blocks.h"

typedef int (*block_fn)(void *arg, uint64_t start, uint64_t bytes, struct error *err);

struct telling {
	struct lua_heap *h;
	block_fn block;
	void *arg;
	struct error *err;
	uint64_t told; /* bytes so far, against calls in a ring */
};

static int tell(struct telling *t, uint64_t start, uint64_t bytes)
{
	if (!start || !bytes || start >> 48 || bytes > t->h->total)
		return 0;
	t->told += bytes;
	return t->block(t->arg, start, bytes, t->err);
}

static int tell_table(struct telling *t, uint64_t addr)
{
	const struct lua_layout *l = t->h->layout;
	struct lua_table table;
	int r = 0;

	if (!lua_heap_table(t->h, addr, &table))
		return 0;
	r = tell(t, table.array, l->value_bytes * table.n_array);
	if (r == 0)
		r = tell(t, table.node, l->node_bytes * table.n_nodes);
	return r < 0 ? r : tell(t, addr, LUA_TABLE_BYTES);
}

static int tell_thread(struct telling *t, uint64_t addr)
{
	const struct lua_layout *l = t->h->layout;
	const uint64_t stack = peek_word(t->h->peek, addr + l->stack);
	const uint64_t last = peek_word(t->h->peek, addr + l->stack_last);
	int r = tell(t, addr - t->h->extra_space, l->state_bytes + t->h->extra_space);

	if (r == 0 && last >= stack)
		r = tell(t, stack, last - stack + LUA_EXTRA_STACK * l->value_bytes);
	for (uint64_t at = peek_word(t->h->peek, addr + l->base_call + 24);
	     r == 0 && at && t->told <= t->h->total; at = peek_word(t->h->peek, at + 24))
		r = tell(t, at, l->call_bytes);
	return r;
}

static int tell_proto(struct telling *t, uint64_t addr)
{
	const struct lua_layout *l = t->h->layout;
	/* sizeupvalues, sizek, sizecode, sizelineinfo, sizep, sizelocvars, sizeabslineinfo */
	const struct {
		uint16_t at;
		uint64_t each;
	} parts[] = { { l->upvalues, 16 },     { l->constants, l->value_bytes },
		      { l->code, 4 },          { l->line_info, l->line_bytes },
		      { l->protos, 8 },        { l->locals, 16 },
		      { l->absolute_lines, 8 } };
	const size_t n = l->absolute_lines ? 7 : 6;
	uint32_t sizes[7];
	int r = tell(t, addr, l->proto_bytes);

	if (!peek_read(t->h->peek, addr + 16, sizes, sizeof(sizes)))
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = tell(t, peek_word(t->h->peek, addr + parts[i].at), parts[i].each * sizes[i]);
	return r;
}

int lua_blocks_each(struct lua_heap *h, uint64_t addr, enum lua_kind kind, block_fn block,
                    void *arg, struct error *err)
{
	struct telling t = { .h = h, .block = block, .arg = arg, .err = err };

	switch (kind) {
	case LUA_TABLE: return tell_table(&t, addr);
	case LUA_COROUTINE: return tell_thread(&t, addr);
	case LUA_PROTO: return tell_proto(&t, addr);
	case LUA_GLOBAL_STATE: return tell(&t, addr - h->padding, h->global_bytes);
	default: return tell(&t, addr, lua_heap_size(h, addr, kind));
	}
}
