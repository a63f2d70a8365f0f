/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_frames.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"

enum {
	WORD = 8,
	NAME_BYTES = 512,
	PC_QUANTUM = 1, /* internal/sys: amd64 1, arm64 4 */
	MAX_STEPS = 1 << 20,
	MAX_FRAMES = 1 << 22,
	MAX_CODES = 1 << 24,
	VARINT_BYTES = 5,
	STACK_MAP_INDEX = 1,
	ARGS_MAPS = 0, /* FUNCDATA_ArgsPointerMaps, LocalsPointerMaps, StackObjects */
	LOCALS_MAPS = 1,
	STACK_OBJECTS = 2,
	INLINE_INDEX = 2, /* internal/abi/symtab.go: PCDATA_InlTreeIndex, FUNCDATA_InlTree */
	INLINE_TREE = 3,
	MAX_INLINED = 64,
	PIECE = 64,
};

void go_frames_clear(struct go_frames *f)
{
	free(f->codes);
	free(f->frames);
	hash_map_clear(&f->by_pc);
	*f = (struct go_frames){ 0 };
}

/* ---- pcvalue tables (symtab.go: pcvalue, step, readvarint) ---- */

struct table {
	struct image *image;
	uint64_t at;
	uint8_t piece[PIECE];
	size_t pos, have;
};

static bool next_byte(struct table *t, uint8_t *ret)
{
	if (t->pos == t->have) {
		t->at += t->have;
		t->pos = 0;
		t->have = PIECE;
		/* the end of the table may be the end of what is mapped */
		if (image_read(t->image, t->at, t->piece, PIECE) < 0)
			t->have = image_read(t->image, t->at, t->piece, 1) == 0;
		if (!t->have)
			return false;
	}
	*ret = t->piece[t->pos++];
	return true;
}

static bool varint(struct table *t, uint32_t *ret)
{
	uint8_t byte;

	*ret = 0;
	for (unsigned i = 0; i < VARINT_BYTES; i++) {
		if (!next_byte(t, &byte))
			return false;
		*ret |= (uint32_t)(byte & 0x7f) << 7 * i;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

/* The value of table @offset of the function that begins at @entry, at @pc; -1 none. */
static int32_t value_at(const struct go_module *m, uint32_t offset, uint64_t entry, uint64_t pc)
{
	struct table t = { .image = m->image, .at = m->pc_table + offset };
	int32_t value = -1;
	uint64_t at = entry;

	if (!offset)
		return -1;
	for (unsigned i = 0; i < MAX_STEPS; i++) {
		uint32_t change, advance;

		if (!varint(&t, &change) || (!change && i) || !varint(&t, &advance))
			return -1;
		value += (int32_t)(change & 1 ? ~(change >> 1) : change >> 1);
		at += (uint64_t)advance * PC_QUANTUM;
		if (pc < at)
			return value;
	}
	return -1;
}

/* ---- what is inlined ---- */

static uint32_t half(const struct go_module *m, uint64_t at)
{
	uint32_t v;

	return image_read(m->image, at, &v, sizeof(v)) == 0 ? v : 0;
}

/* Funcdata @n of the function (symtab.go, funcdata); 0 none. Behind runtime._func: @pcdata offsets,
 * then the funcdata: pointers (1.17), or offsets from moduledata.gofunc. */
static uint64_t funcdata(const struct go_module *m, uint64_t record, uint32_t pcdata, unsigned n)
{
	uint64_t at = record + m->layout->func_nfuncdata + 1 + 4ull * pcdata, base = 0;
	uint32_t offset;
	uint8_t have = 0;

	if (image_read(m->image, record + m->layout->func_nfuncdata, &have, 1) < 0 || n >= have)
		return 0;
	if (m->layout->minor < 18) {
		at = (at + WORD - 1) / WORD * WORD;
		return image_read(m->image, at + WORD * n, &base, WORD) == 0 ? base : 0;
	}
	offset = half(m, at + 4 * n);
	image_read(m->image, m->at + m->layout->moduledata_gofunc, &base, WORD);
	return offset == UINT32_MAX || !base ? 0 : base + offset;
}

/* The function that is inlined at @pc of @f, the outermost one: its name, or "". */
static void inlined_at(const struct go_module *m, const struct go_module_function *f, uint64_t pc,
                       char *buf, size_t size)
{
	/* runtime.inlinedCall: from 1.20 on shorter */
	bool old = m->layout->minor < 20;
	uint32_t bytes = old ? 20 : 16, name = old ? 12 : 4, parent = old ? 16 : 8, found = 0;
	uint32_t n = half(m, f->record + m->layout->func_npcdata);
	uint64_t tree = n > INLINE_INDEX ? funcdata(m, f->record, n, INLINE_TREE) : 0;
	uint32_t table = half(m, f->record + m->layout->func_nfuncdata + 1 + 4 * INLINE_INDEX);

	buf[0] = '\0';
	for (unsigned i = 0; tree && i < MAX_INLINED; i++) {
		int32_t k = value_at(m, table, f->entry, pc);

		if (k < 0)
			break;
		found = half(m, tree + (uint64_t)k * bytes + name);
		pc = f->entry + half(m, tree + (uint64_t)k * bytes + parent);
	}
	if (found)
		go_module_name(m, found, buf, size);
}

/* ---- code ---- */

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(name, list[i]))
			return true;
	}
	return false;
}

/* internal/abi/symtab.go (runtime/symtab.go before 1.21): FuncIDWrapper, the last of its list. */
static uint8_t wrapper_id(unsigned minor)
{
	return minor >= 25 ? 23 : minor >= 22 || minor == 17 ? 22 : 21;
}

static void classify(struct go_frames_code *c, const char *name)
{
	static const char *const injected[] = { "runtime.asyncPreempt", "runtime.sigpanic",
		                                "runtime.debugCallV2", "runtime.debugCallV1" };
	/* traceback.go, topofstack, and where a thread begins */
	static const char *const last[] = { "runtime.goexit",  "runtime.mstart",
		                            "runtime.mstart0", "runtime.rt0_go",
		                            "runtime.mcall",   "runtime.externalthreadhandler" };

	c->is_injected = is_one_of(name, injected, ARRAY_SIZE(injected));
	c->spills = !strcmp(name, "runtime.asyncPreempt");
	c->is_last = is_one_of(name, last, ARRAY_SIZE(last));
}

/* Where its stack maps are (funcdata.go, internal/abi/symtab.go). */
static void find_maps(const struct go_module *m, const struct go_module_function *f, uint64_t pc,
                      struct go_frames_code *c)
{
	uint32_t n = half(m, f->record + m->layout->func_npcdata);
	uint64_t tables = f->record + m->layout->func_nfuncdata + 1;

	c->map_index = -1;
	c->args_bytes = half(m, f->record + m->layout->func_args);
	if (c->args_bytes > INT32_MAX) /* ArgsSizeUnknown */
		c->args_bytes = 0;
	if (n > STACK_MAP_INDEX)
		c->map_index = value_at(m, half(m, tables + 4 * STACK_MAP_INDEX), f->entry, pc);
	c->args = funcdata(m, f->record, n, ARGS_MAPS);
	c->locals = funcdata(m, f->record, n, LOCALS_MAPS);
	c->objects = funcdata(m, f->record, n, STACK_OBJECTS);
}

static int make_code(struct go_frames *f, uint64_t pc, struct go_frames_code *ret,
                     struct error *err)
{
	const struct go_module *m = f->module;
	struct go_module_function at;
	char name[NAME_BYTES], inlined[NAME_BYTES] = "";
	uint32_t table;
	uint8_t id = 0;

	*ret = (struct go_frames_code){ .bytes = -1, .is_last = true };
	if (!go_module_function_at(m, pc, &at))
		return 0;
	go_module_function_name(m, &at, name, sizeof(name));
	classify(ret, name);
	ret->entry = at.entry;
	/* `go f(x)` and `defer f(x)` become closures without arguments (escape/call.go) */
	if (image_read(m->image, at.record + m->layout->func_id, &id, 1) == 0)
		ret->is_wrapper = id == wrapper_id(m->layout->minor);
	if (ret->is_wrapper) {
		inlined_at(m, &at, pc, inlined, sizeof(inlined));
		ret->is_wrapper = !inlined[0];
	}
	find_maps(m, &at, pc, ret);
	if (image_read(m->image, at.record + m->layout->func_pcsp, &table, sizeof(table)) == 0)
		ret->bytes = value_at(m, table, at.entry, pc);
	return object_graph_text(f->texts, inlined[0] ? inlined : name, NAME_BYTES, &ret->name,
	                         err);
}

/* What is at @pc, remembered: *ret is an index. */
static int code_at(struct go_frames *f, uint64_t pc, uint32_t *ret, struct error *err)
{
	uint64_t *found = hash_map_get(&f->by_pc, pc);
	struct go_frames_code code;
	int r;

	if (found) {
		*ret = (uint32_t)*found;
		return 0;
	}
	if (f->n_codes >= MAX_CODES) {
		*ret = 0;
		return 0;
	}
	r = make_code(f, pc, &code, err);
	if (r == 0)
		r = array_reserve(&f->codes, &f->cap_codes, f->n_codes + 1, err);
	if (r == 0)
		r = hash_map_put(&f->by_pc, pc, f->n_codes, err);
	if (r < 0)
		return r;
	*ret = (uint32_t)f->n_codes;
	f->codes[f->n_codes++] = code;
	return 0;
}

/* ---- the walk ---- */

static int add(struct go_frames *f, const struct go_frames_frame *frame, struct error *err)
{
	int r = array_reserve(&f->frames, &f->cap_frames, f->n_frames + 1, err);

	if (r == 0)
		f->frames[f->n_frames++] = *frame;
	return r;
}

int go_frames_walk(struct go_frames *f, uint64_t pc, uint64_t sp, uint64_t high, bool is_exact,
                   struct error *err)
{
	f->n_frames = 0;
	while (pc && sp < high && f->n_frames < MAX_FRAMES) {
		const struct go_frames_code *c;
		uint64_t at = is_exact ? pc : pc - 1, cfa;
		uint32_t code;
		int r = code_at(f, at, &code, err);

		if (r < 0)
			return r;
		c = &f->codes[code];
		if (!c->name || c->bytes < 0 || c->bytes % WORD)
			return 0;
		cfa = sp + (uint32_t)c->bytes + WORD;
		if (cfa > high)
			return 0;
		r = add(f, &(struct go_frames_frame){ sp, cfa, at, code, is_exact }, err);
		if (r < 0 || c->is_last || image_read(f->module->image, cfa - WORD, &pc, WORD) < 0)
			return r;
		is_exact = c->is_injected;
		sp = cfa;
	}
	return 0;
}

const struct go_frames_frame *go_frames_at(const struct go_frames *f, uint64_t at)
{
	size_t behind = partition_point(f->n_frames, i, f->frames[i].sp <= at);

	return behind && at < f->frames[behind - 1].cfa ? &f->frames[behind - 1] : NULL;
}
