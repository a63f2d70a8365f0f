/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_frames.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "runtime/go/go_code.h"
#include "runtime/go/go_machine.h"

enum {
	WORD = 8,
	NAME_BYTES = 512,
	MAX_FRAMES = 1 << 22,
	MAX_CODES = 1 << 24,
	STACK_MAP_INDEX = 1,
	ARGS_MAPS = 0, /* FUNCDATA_ArgsPointerMaps, LocalsPointerMaps, StackObjects */
	LOCALS_MAPS = 1,
	STACK_OBJECTS = 2,
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

/* The function that is inlined at @pc of @f, the outermost one: its name, or "". */
static void inlined_at(const struct go_module *m, const struct go_code_function *f, uint64_t pc,
                       char *buf, size_t size)
{
	struct go_code_call call;
	uint32_t found = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < MAX_INLINED && go_code_inlined(m, f, pc, &call); i++) {
		found = call.name;
		pc = call.caller;
	}
	if (found)
		go_code_name(m, found, buf, size);
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
static void find_maps(const struct go_module *m, const struct go_code_function *f, uint64_t pc,
                      struct go_frames_code *c)
{
	c->args_bytes = image_uint32(m->image, f->record + m->layout->func_args);
	if (c->args_bytes > INT32_MAX) /* ArgsSizeUnknown */
		c->args_bytes = 0;
	c->map_index = go_code_pcdata(m, f, STACK_MAP_INDEX, pc);
	c->args = go_code_funcdata(m, f, ARGS_MAPS);
	c->locals = go_code_funcdata(m, f, LOCALS_MAPS);
	c->objects = go_code_funcdata(m, f, STACK_OBJECTS);
}

static int make_code(struct go_frames *f, uint64_t pc, struct go_frames_code *ret,
                     struct error *err)
{
	const struct go_module *m = f->module;
	struct go_code_function at;
	char name[NAME_BYTES], inlined[NAME_BYTES] = "";
	uint32_t table;
	uint8_t id = 0;

	*ret = (struct go_frames_code){ .bytes = -1, .is_last = true };
	if (!go_code_function(m, pc, &at))
		return 0;
	go_code_name(m, go_code_name_of(m, &at), name, sizeof(name));
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
		ret->bytes = go_code_value(m, &at, table, pc);
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

/*
 * Where the frame @k returns to; @link, where one without a frame does, becomes
 * what the function was to return to that @k interrupted.
 */
static uint64_t return_address(const struct go_frames *f, const struct go_frames_frame *k,
                               uint64_t *link)
{
	const struct go_frames_code *c = &f->codes[k->code];
	uint64_t pc;

	if (GO_MACHINE_PUSHED)
		return image_uint64(f->module->image, k->cfa - GO_MACHINE_PUSHED);
	pc = c->bytes ? image_uint64(f->module->image, k->sp) : *link;
	*link = c->is_injected ? image_uint64(f->module->image, k->cfa - GO_MACHINE_INJECTED) : 0;
	return pc;
}

int go_frames_walk(struct go_frames *f, const struct go_frames_top *top, uint64_t high,
                   struct error *err)
{
	uint64_t pc = top->pc, sp = top->sp, link = top->link;
	bool is_exact = top->is_exact;

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
		cfa = sp + (uint32_t)c->bytes + GO_MACHINE_PUSHED +
		      (c->is_injected ? GO_MACHINE_INJECTED : 0);
		if (cfa > high)
			return 0;
		r = add(f, &(struct go_frames_frame){ sp, cfa, at, code, is_exact }, err);
		if (r < 0 || c->is_last)
			return r;
		pc = return_address(f, &f->frames[f->n_frames - 1], &link);
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
