/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_patch.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/agent_ends.h"
#include "alloc/agent_place.h"
#include "base/cleanup.h"
#include "runtime/code.h"
#include "runtime/plan.h"

enum {
	PAGE = 4096,
	MAX_SEGMENT = 64 << 20,
	BREAKPOINT = 0xcc,
};

static int refuse(const struct runtime_probe *p, const char *why, struct error *err)
{
	return error_set(err, ENOTSUP, "%s cannot be patched: %s", p->name, why);
}

/* ---- memory and file ---- */

static int check_memory(const struct tracee *t, const struct runtime_probe *p,
                        const struct code_function *c, uint64_t bias, struct error *err)
{
	cleanup_free uint8_t *memory = malloc(c->len);

	if (!memory)
		return error_oom(err);
	if (agent_place_read(t->target, c->vaddr + bias, memory, c->len) != (ssize_t)c->len)
		return refuse(p, "its code cannot be read", err);
	if (memory[0] == BREAKPOINT && c->bytes[0] != BREAKPOINT)
		memory[0] = c->bytes[0]; /* somebody's uprobe, which we leave alone */
	for (size_t i = 0; i < c->len; i++) {
		if (memory[i] == c->bytes[i])
			continue;
		return refuse(p,
		              memory[i] == BREAKPOINT
		                      ? "somebody's breakpoint is in it"
		                      : "its code is not what its file has; something has "
		                        "changed it already",
		              err);
	}
	return 0;
}

/* ---- instructions ---- */

/* @arguments must be there still when the call is looked at, behind that instruction. */
static bool find_undo(const uint8_t *b, const struct code_insn *in, unsigned arguments,
                      struct agent_stub_head *h)
{
	h->undo = AGENT_STUB_RAISE;
	if ((in->length == 1 && b[0] >= 0x50 && b[0] <= 0x57) ||
	    (in->length == 2 && b[0] == 0x41 && b[1] >= 0x50 && b[1] <= 0x57)) {
		h->raise = 8;
		return true;
	}
	if (in->length == 4 && b[0] == 0x48 && b[1] == 0x83 && b[2] == 0xec && b[3] < 0x80) {
		h->raise = b[3]; /* sub rsp, n */
		return true;
	}
	h->undo = AGENT_STUB_REPEAT;
	return in->repeatable && !(in->writes & arguments);
}

static bool can_move(const struct code_insn *in)
{
	switch (in->flow) {
	case CODE_NEXT: return true;
	case CODE_BRANCH:
	case CODE_CALL: /* as long as a patch, so it returns to behind the patch */
	case CODE_JUMP: return in->direct && in->emulated;
	default: return false;
	}
}

static bool is_jumped_into(const struct code_function *c, uint64_t start, uint64_t end)
{
	struct code_insn in;

	for (size_t at = 0; at < c->len; at += in.length) {
		if (!code_decode(c->bytes + at, c->len - at, c->vaddr + at, &in))
			return true;
		if (in.direct && in.target >= start && in.target < end)
			return true;
	}
	return false;
}

int agent_patch_head(const struct runtime_probe *p, const struct code_function *c, uint64_t bias,
                     struct agent_patch *ret, struct error *err)
{
	struct agent_stub_head *h = &ret->head;
	struct code_insn in;
	size_t at = 0, second = 0;

	for (; h->n < AGENT_STUB_MAX_INSNS; h->n++, at += in.length) {
		if (h->n > 1 && at >= second + AGENT_PATCH_BYTES)
			break;
		if (!code_decode(c->bytes + at, c->len - at, c->vaddr + at, &in))
			return refuse(p, "it is too short", err);
		if (h->n == 0 && !find_undo(c->bytes, &in, plan_arguments(&p->entry), h))
			return refuse(p, "its first instruction cannot be taken back", err);
		if (h->n > 0 && !can_move(&in))
			return refuse(p, "its beginning cannot be moved", err);
		/* flags that the second one wants are only there if the first is done again */
		if (h->n == 1 && in.flow == CODE_BRANCH && h->undo != AGENT_STUB_REPEAT)
			return refuse(p, "its beginning cannot be moved", err);
		h->lengths[h->n] = in.length;
		h->disp_at[h->n] = in.disp_at;
		second = h->n ? second : in.length;
	}
	if (at < second + AGENT_PATCH_BYTES || at > sizeof(h->bytes) || at > c->len)
		return refuse(p, "it is too short", err);
	memcpy(h->bytes, c->bytes, at);
	h->start = c->vaddr + bias;
	ret->at = h->start + second;
	/* written in one piece, however memwho may end meanwhile */
	if (ret->at % PAGE > PAGE - AGENT_PATCH_BYTES)
		return refuse(p, "its beginning lies across two pages", err);
	ret->end = h->start + at;
	if (is_jumped_into(c, ret->at - bias, ret->end - bias))
		return refuse(p, "it jumps back to its beginning", err);
	memcpy(ret->was, c->bytes + second, AGENT_PATCH_BYTES);
	return 0;
}

int agent_patch_plan(const struct tracee *t, size_t i, struct agent_patch *ret, struct error *err)
{
	const struct runtime_probe *p = &t->probes.probes[i];
	struct elf_file *elf = symbol_module_elf(p->module);
	cleanup(code_function_clear) struct code_function c = { 0 };
	struct agent_patch patch = { .probe = p };
	uint64_t bias;
	int r;

	if (!elf || !tracee_find_bias(t, p->module, &bias))
		return refuse(p, "its library is gone", err);
	r = code_function_read(elf, p->vaddr, p->size, &c, err);
	if (r < 0)
		return r == -ENOMEM ? r : refuse(p, "its code cannot be read", err);
	if (!c.whole)
		return refuse(p, "its code is not understood", err);
	if (agent_ends_at_once(t, elf, &c, bias))
		return 0;
	r = check_memory(t, p, &c, bias, err);
	if (r == 0)
		r = agent_patch_head(p, &c, bias, &patch, err);
	if (r < 0)
		return r;
	patch.fast = agent_stub_understand(&p->entry);
	if (patch.fast.kind == AGENT_STUB_ALLOC &&
	    agent_ends_in_another(t, elf, p->vaddr, p->size, bias))
		patch.fast.kind = AGENT_STUB_SLOW;
	*ret = patch;
	return 1;
}

/* ---- jumps from anywhere ---- */

struct jumps {
	const struct symbol_module *module;
	const struct agent_patch *patches;
	size_t n;
};

/* Which of the patches; n: none. */
static size_t jumped_into(const struct jumps *j, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < j->n; i++) {
		const struct agent_patch *p = &j->patches[i];

		/* its own code was decoded and looked at */
		if (p->probe->module == j->module && to >= p->at && to < p->end &&
		    from - p->head.start >= (p->probe->size ? p->probe->size : 1))
			return i;
	}
	return j->n;
}

/* Every place where a displacement of 32 bits could be, whether an instruction
 * begins there or not: that finds more than there is, never less. */
static size_t scan(const struct jumps *j, const uint8_t *b, size_t len, uint64_t start)
{
	for (size_t i = 0; i + 6 <= len; i++) {
		const bool near = b[i] == 0xe8 || b[i] == 0xe9;
		int32_t far;
		size_t behind, which;

		if (!near && (b[i] != 0x0f || b[i + 1] < 0x80 || b[i + 1] > 0x8f))
			continue;
		behind = i + (near ? 5 : 6);
		memcpy(&far, b + behind - 4, sizeof(far));
		which = jumped_into(j, start + i, start + behind + far);
		if (which < j->n)
			return which;
	}
	return j->n;
}

static int scan_segment(const struct jumps *j, struct elf_file *f, const struct elf_segment *s,
                        uint64_t bias, size_t *which, struct error *err)
{
	cleanup_free uint8_t *bytes = NULL;
	int r;

	if (s->filesz > MAX_SEGMENT)
		return error_set(err, ENOTSUP, "%s has too much code to be looked through",
		                 elf_file_name(f));
	bytes = malloc(s->filesz);
	if (!bytes)
		return error_oom(err);
	r = elf_file_read_vaddr(f, s->vaddr, bytes, s->filesz, err);
	if (r < 0)
		return r;
	*which = scan(j, bytes, s->filesz, s->vaddr + bias);
	return *which == j->n;
}

int agent_patch_check_jumps(const struct tracee *t, const struct symbol_module *module,
                            const struct agent_patch *patches, size_t n, size_t *which,
                            struct error *err)
{
	struct elf_file *f = symbol_module_elf((struct symbol_module *)module);
	const struct jumps j = { module, patches, n };
	uint64_t bias;
	int r = 1;

	if (!tracee_find_bias(t, module, &bias))
		return error_set(err, ENOTSUP, "%s is gone", elf_file_name(f));
	for (size_t i = 0; f && r == 1 && i < elf_file_n_segments(f); i++) {
		struct elf_segment s = elf_file_segment(f, i);

		if (s.type == PT_LOAD && (s.flags & PF_X) && s.filesz)
			r = scan_segment(&j, f, &s, bias, which, err);
	}
	return r;
}
