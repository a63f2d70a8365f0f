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
                        const struct code_function *c, uint64_t bias, bool in_page,
                        struct error *err)
{
	cleanup_free uint8_t *memory = malloc(c->len);

	if (!memory)
		return error_oom(err);
	if (agent_place_read(t->target, c->vaddr + bias, memory, c->len) != (ssize_t)c->len)
		return refuse(p, "its code cannot be read", err);
	if (memory[0] == BREAKPOINT && c->bytes[0] != BREAKPOINT)
		memory[0] = c->bytes[0]; /* somebody's uprobe, which we leave alone */
	for (size_t i = 0; i < c->len; i++) {
		if (memory[i] == c->bytes[i] || (in_page && memory[i] == BREAKPOINT))
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

enum {
	RSP_BIT = 1 << 4,
	LOST_BITS = 1 << 0 | 1 << 10 | 1 << 11, /* rax, r10, r11: agent_stub.h */
};

/* push r: the bit of the register; 0: it is none. */
static unsigned pushed_by(const uint8_t *b, unsigned len)
{
	if (len == 1 && b[0] >= 0x50 && b[0] <= 0x57)
		return 1u << (b[0] - 0x50);
	if (len == 2 && b[0] == 0x41 && b[1] >= 0x50 && b[1] <= 0x57)
		return 256u << (b[1] - 0x50);
	return 0;
}

/* sub rsp, n */
static bool lowers_stack(const uint8_t *b, unsigned len)
{
	if (len < 4 || b[0] != 0x48 || b[2] != 0xec)
		return false;
	return (len == 4 && b[1] == 0x83 && b[3] < 0x80) ||
	       (len == 7 && b[1] == 0x81 && b[6] < 0x80 && !b[5]);
}

/* mov between registers and memory, or lea. */
static bool keeps_flags(const uint8_t *b, unsigned len)
{
	const unsigned at = (b[0] & 0xf0) == 0x40; /* behind REX */

	return len > at && (b[at] == 0x89 || b[at] == 0x8b || b[at] == 0x8d);
}

/* What is known about the instructions before the jump. */
struct prologue {
	unsigned arguments;     /* enum code_register: what must be there still at the jump */
	unsigned pushed;        /* registers that can be popped */
	unsigned reads, writes; /* of those that are done again */
};

/* May @in be one of them? Those that are done again must come to the same: none reads what
 * it, or one behind it, writes, or where the stack pointer is. */
static bool find_undo(const uint8_t *b, const struct code_insn *in, struct prologue *s,
                      uint8_t *ret)
{
	const unsigned pushed = pushed_by(b, in->length);

	*ret = AGENT_STUB_RAISE;
	s->pushed |= pushed;
	if (pushed & RSP_BIT)
		return false;
	if (pushed || lowers_stack(b, in->length))
		return true;
	*ret = keeps_flags(b, in->length) && !(in->gpr_writes & LOST_BITS) ? AGENT_STUB_KEEP
	                                                                   : AGENT_STUB_REPEAT;
	if (in->repeatable_kept ? in->gpr_writes & ~s->pushed : !in->repeatable)
		return false;
	s->reads |= in->gpr_reads;
	s->writes |= in->gpr_writes;
	return !(in->writes & s->arguments) && !(in->gpr_writes & s->reads) &&
	       !(in->gpr_reads & RSP_BIT);
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

/* Put one more instruction into the head. */
static bool take(struct agent_stub_head *h, const struct code_function *c, size_t *at,
                 struct code_insn *in)
{
	if (h->n == AGENT_STUB_MAX_INSNS ||
	    !code_decode(c->bytes + *at, c->len - *at, c->vaddr + *at, in) ||
	    *at + in->length > sizeof(h->bytes))
		return false;
	h->lengths[h->n] = in->length;
	h->disp_at[h->n++] = in->disp_at;
	*at += in->length;
	return true;
}

/* flags that a branch wants are only there if what has made them is done again */
static bool can_move_first(const struct code_insn *in, const struct agent_stub_head *h)
{
	unsigned i = h->n_before;

	if (!can_move(in) || in->flow != CODE_BRANCH)
		return can_move(in);
	while (i && h->undo[i - 1] == AGENT_STUB_KEEP)
		i--;
	return i && h->undo[i - 1] == AGENT_STUB_REPEAT;
}

static int finish(const struct runtime_probe *p, const struct code_function *c, uint64_t bias,
                  size_t jump, size_t end, size_t untouched, struct agent_patch *ret,
                  struct error *err)
{
	struct agent_stub_head *h = &ret->head;

	if (end < jump + AGENT_PATCH_BYTES || end > c->len)
		return refuse(p, "it is too short", err);
	h->start = c->vaddr + bias;
	ret->at = h->start + jump;
	ret->end = h->start + end;
	/* written in one piece, however memwho may end meanwhile */
	if (ret->at % PAGE > PAGE - AGENT_PATCH_BYTES)
		return refuse(p, "its beginning lies across two pages", err);
	if (is_jumped_into(c, c->vaddr + untouched, c->vaddr + end))
		return refuse(p, "it jumps back to its beginning", err);
	memcpy(h->bytes, c->bytes, end);
	memcpy(ret->was, c->bytes + jump, AGENT_PATCH_BYTES);
	return 0;
}

/* One instruction that is as long as a jump: no other one begins in it, so that a breakpoint
 * which somebody sets while we record does not change where the jump leads. Not the first. */
static bool find_long(const struct runtime_probe *p, const struct code_function *c, uint64_t bias,
                      struct agent_patch *ret)
{
	struct agent_stub_head *h = &ret->head;
	struct prologue s = { .arguments = plan_arguments(&p->entry) };
	struct error unused;
	struct code_insn in;
	size_t end = 0;

	for (*h = (struct agent_stub_head){ 0 }; take(h, c, &end, &in);) {
		h->n_before = h->n - 1;
		if (h->n_before && in.length >= AGENT_PATCH_BYTES && can_move_first(&in, h) &&
		    finish(p, c, bias, end - in.length, end, 1, ret, &unused) == 0)
			return true;
		if (!find_undo(c->bytes + end - in.length, &in, &s, &h->undo[h->n - 1]))
			break;
	}
	return false;
}

static int find_second(const struct runtime_probe *p, const struct code_function *c, uint64_t bias,
                       struct agent_patch *ret, struct error *err)
{
	struct agent_stub_head *h = &ret->head;
	struct prologue s = { .arguments = plan_arguments(&p->entry) };
	struct code_insn in;
	size_t second, end = 0;

	*h = (struct agent_stub_head){ .n_before = 1 };
	if (!take(h, c, &end, &in))
		return refuse(p, "it is too short", err);
	if (!find_undo(c->bytes, &in, &s, &h->undo[0]))
		return refuse(p, "its first instruction cannot be taken back", err);
	for (second = end; end < second + AGENT_PATCH_BYTES;) {
		if (!take(h, c, &end, &in))
			return refuse(p, "it is too short", err);
		if (h->n == 2 ? !can_move_first(&in, h) : !can_move(&in))
			return refuse(p, "its beginning cannot be moved", err);
	}
	return finish(p, c, bias, second, end, second, ret, err);
}

int agent_patch_head(const struct runtime_probe *p, const struct code_function *c, uint64_t bias,
                     struct agent_patch *ret, struct error *err)
{
	ret->whole = find_long(p, c, bias, ret);
	return ret->whole ? 0 : find_second(p, c, bias, ret, err);
}

int agent_patch_plan(const struct tracee *t, size_t i, bool in_page, struct agent_patch *ret,
                     struct error *err)
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
	r = check_memory(t, p, &c, bias, in_page, err);
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
		if (p->probe->module == j->module && to >= (p->whole ? p->head.start + 1 : p->at) &&
		    to < p->end && from - p->head.start >= (p->probe->size ? p->probe->size : 1))
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
