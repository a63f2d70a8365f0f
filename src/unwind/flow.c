/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/flow.h"

#include <limits.h>
#include <stdlib.h>

#include <Zydis/Zydis.h>

#include "base/cleanup.h"

enum { UNKNOWN = -1, MAX_DEPTH = 1 << 24 };

struct insn {
	ZydisDecodedInstruction i;
#ifdef HAVE_ZYDIS4
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
#endif
};

/* Before an instruction. rsp = CFA - depth, rbp = CFA - frame. */
struct state {
	int32_t depth, frame; /* or UNKNOWN */
	uint8_t slot;         /* caller's rbp is saved at CFA - 8 * slot; 0: is not */
	bool callers;         /* rbp holds the caller's */
};

enum { REACHED = 1, QUEUED = 2 };

struct flow {
	ZydisDecoder decoder;
	const uint8_t *code;
	size_t len;
	uint64_t vaddr;
	struct state *states; /* by offset, where flags say REACHED */
	uint8_t *flags, *lengths;
	uint32_t *queue;
	size_t n_queue;
};

static bool start_decoder(ZydisDecoder *d)
{
#ifdef HAVE_ZYDIS4
	return ZYAN_SUCCESS(ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64));
#else
	return ZYAN_SUCCESS(
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_ADDRESS_WIDTH_64));
#endif
}

static bool decode(const ZydisDecoder *d, const uint8_t *code, size_t len, struct insn *ret)
{
#ifdef HAVE_ZYDIS4
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(d, code, len, &ret->i, ret->operands));
#else
	return ZYAN_SUCCESS(ZydisDecoderDecodeBuffer(d, code, len, &ret->i));
#endif
}

static const ZydisDecodedOperand *operand(const struct insn *n, unsigned i)
{
#ifdef HAVE_ZYDIS4
	return &n->operands[i];
#else
	return &n->i.operands[i];
#endif
}

static bool is_register(const ZydisDecodedOperand *o, ZydisRegister r)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value == r;
}

/* Any part of @r (rsp, rbp) is written, said or unsaid. */
static bool writes(const struct insn *n, ZydisRegister r)
{
	for (unsigned i = 0; i < n->i.operand_count; i++) {
		const ZydisDecodedOperand *o = operand(n, i);

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE &&
		    ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value) == r)
			return true;
	}
	return false;
}

static bool is_direct(const struct insn *n)
{
	const ZydisDecodedOperand *o = operand(n, 0);

	return o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && o->imm.is_relative;
}

static uint64_t target_of(const struct insn *n, uint64_t vaddr)
{
	return vaddr + n->i.length + operand(n, 0)->imm.value.s;
}

static bool is_at_entry(const struct state *s)
{
	return s->depth == 8 && s->callers && !s->slot;
}

static bool is_usable(const struct state *s)
{
	if (s->depth == UNKNOWN ? s->frame == UNKNOWN : s->depth < 8 || s->depth > MAX_DEPTH)
		return false;
	return s->callers || s->slot;
}

/* rbp was given a value of its own, @frame below the CFA if that is known. */
static bool rbp_written(struct state *s, int32_t frame)
{
	s->callers = false;
	s->frame = frame > 0 ? frame : UNKNOWN;
	return s->slot != 0;
}

/* What lies below rsp is no longer saved. */
static bool rsp_set(struct state *s, int64_t depth)
{
	if (depth < 8 || depth > MAX_DEPTH)
		return false;
	s->depth = depth;
	if (s->slot * 8 <= depth)
		return true;
	s->slot = 0;
	return s->callers;
}

static bool rsp_moved(struct state *s, int64_t down)
{
	if (s->depth == UNKNOWN)
		return s->frame != UNKNOWN;
	return down > -MAX_DEPTH && down < MAX_DEPTH && rsp_set(s, s->depth + down);
}

static bool apply_push(const struct insn *n, struct state *s)
{
	if (n->i.operand_width != 64 || !rsp_moved(s, 8))
		return false;
	if (is_register(operand(n, 0), ZYDIS_REGISTER_RBP) && s->callers && !s->slot &&
	    s->depth != UNKNOWN && s->depth % 8 == 0 && s->depth / 8 <= UCHAR_MAX)
		s->slot = s->depth / 8;
	return true;
}

static bool apply_pop(const struct insn *n, struct state *s)
{
	bool to_rbp = is_register(operand(n, 0), ZYDIS_REGISTER_RBP);
	bool restores = to_rbp && s->depth != UNKNOWN && s->slot && s->slot * 8 == s->depth;

	if (n->i.operand_width != 64 || is_register(operand(n, 0), ZYDIS_REGISTER_RSP))
		return false;
	if (restores) {
		s->callers = true;
		s->slot = 0;
		s->frame = UNKNOWN;
	} else if (to_rbp && !rbp_written(s, UNKNOWN)) {
		return false;
	}
	return rsp_moved(s, -8);
}

static bool apply_leave(const struct insn *n, struct state *s)
{
	if (n->i.operand_width != 64 || s->frame == UNKNOWN || s->slot * 8 != s->frame)
		return false;
	s->depth = s->frame - 8;
	s->frame = UNKNOWN;
	s->callers = true;
	s->slot = 0;
	return true;
}

/* add, sub, lea, mov to rsp; another amount than a constant leaves only rbp to
 * know the frame by. */
static bool apply_rsp(const struct insn *n, struct state *s)
{
	const ZydisDecodedOperand *to = operand(n, 0), *from = operand(n, 1);
	bool add = n->i.mnemonic == ZYDIS_MNEMONIC_ADD, sub = n->i.mnemonic == ZYDIS_MNEMONIC_SUB;
	bool lea = n->i.mnemonic == ZYDIS_MNEMONIC_LEA && from->mem.index == ZYDIS_REGISTER_NONE;

	if (!is_register(to, ZYDIS_REGISTER_RSP))
		return false;
	if ((add || sub) && from->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		int64_t by = from->imm.value.s;

		return by > -MAX_DEPTH && by < MAX_DEPTH && rsp_moved(s, add ? -by : by);
	}
	if (lea && from->mem.base == ZYDIS_REGISTER_RSP)
		return rsp_moved(s, -from->mem.disp.value);
	if (lea && from->mem.base == ZYDIS_REGISTER_RBP && s->frame != UNKNOWN)
		return rsp_set(s, s->frame - from->mem.disp.value);
	if (n->i.mnemonic == ZYDIS_MNEMONIC_MOV && is_register(from, ZYDIS_REGISTER_RBP) &&
	    s->frame != UNKNOWN)
		return rsp_set(s, s->frame);
	s->depth = UNKNOWN;
	return s->frame != UNKNOWN;
}

static bool apply_rbp(const struct insn *n, struct state *s)
{
	const ZydisDecodedOperand *to = operand(n, 0), *from = operand(n, 1);
	int64_t frame = UNKNOWN;

	if (is_register(to, ZYDIS_REGISTER_RBP) && s->depth != UNKNOWN) {
		if (n->i.mnemonic == ZYDIS_MNEMONIC_MOV && is_register(from, ZYDIS_REGISTER_RSP))
			frame = s->depth;
		else if (n->i.mnemonic == ZYDIS_MNEMONIC_LEA &&
		         from->mem.base == ZYDIS_REGISTER_RSP &&
		         from->mem.index == ZYDIS_REGISTER_NONE)
			frame = s->depth - from->mem.disp.value;
	}
	return rbp_written(s, frame > 0 && frame < MAX_DEPTH ? frame : UNKNOWN);
}

/* The effect of an instruction that is no jump, call or return. */
static bool apply(const struct insn *n, struct state *s)
{
	switch (n->i.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH: return apply_push(n, s);
	case ZYDIS_MNEMONIC_POP: return apply_pop(n, s);
	case ZYDIS_MNEMONIC_PUSHFQ: return rsp_moved(s, 8);
	case ZYDIS_MNEMONIC_POPFQ: return rsp_moved(s, -8);
	case ZYDIS_MNEMONIC_LEAVE: return apply_leave(n, s);
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_XCHG:
		return !writes(n, ZYDIS_REGISTER_RSP) && !writes(n, ZYDIS_REGISTER_RBP);
	default: break;
	}
	if (writes(n, ZYDIS_REGISTER_RSP) && !apply_rsp(n, s))
		return false;
	return !writes(n, ZYDIS_REGISTER_RBP) || apply_rbp(n, s);
}

/* Two paths meet: what they don't agree on is unknown, if it may be. */
static bool join(struct state *have, const struct state *s, bool *changed)
{
	if (have->slot != s->slot)
		return false;
	if (have->depth != s->depth && have->depth != UNKNOWN) {
		have->depth = UNKNOWN;
		*changed = true;
	}
	if (have->frame != s->frame && have->frame != UNKNOWN) {
		have->frame = UNKNOWN;
		*changed = true;
	}
	if (have->callers && !s->callers) {
		have->callers = false;
		*changed = true;
	}
	return is_usable(have);
}

static bool reach(struct flow *f, uint64_t offset, const struct state *s)
{
	bool changed = false;

	if (offset >= f->len || !is_usable(s))
		return false;
	if (!(f->flags[offset] & REACHED)) {
		f->states[offset] = *s;
		f->flags[offset] |= REACHED;
		changed = true;
	} else if (!join(&f->states[offset], s, &changed)) {
		return false;
	}
	if (changed && !(f->flags[offset] & QUEUED)) {
		f->flags[offset] |= QUEUED;
		f->queue[f->n_queue++] = offset;
	}
	return true;
}

/* Out of the function only as a tail call: the stack as at entry. */
static bool jump(struct flow *f, const struct insn *n, uint64_t offset, const struct state *s)
{
	uint64_t to = is_direct(n) ? target_of(n, f->vaddr + offset) - f->vaddr : UINT64_MAX;

	return to < f->len ? reach(f, to, s) : is_at_entry(s);
}

static bool call(struct flow *f, const struct insn *n, uint64_t next, const struct state *s)
{
	/* "call next; pop" reads the program counter and returns nowhere */
	if (is_direct(n) && operand(n, 0)->imm.value.s == 0)
		return false;
	/* the last instruction's call does not return */
	return next == f->len || reach(f, next, s);
}

static bool stops(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_UD0 || m == ZYDIS_MNEMONIC_UD1 || m == ZYDIS_MNEMONIC_UD2 ||
	       m == ZYDIS_MNEMONIC_INT3 || m == ZYDIS_MNEMONIC_HLT;
}

static bool step(struct flow *f, uint32_t offset)
{
	struct state s = f->states[offset];
	uint64_t next;
	struct insn n;

	if (!decode(&f->decoder, f->code + offset, f->len - offset, &n))
		return false;
	f->lengths[offset] = n.i.length;
	next = (uint64_t)offset + n.i.length;
	if (stops(n.i.mnemonic))
		return true;
	switch (n.i.meta.category) {
	case ZYDIS_CATEGORY_COND_BR: return jump(f, &n, offset, &s) && reach(f, next, &s);
	case ZYDIS_CATEGORY_UNCOND_BR: return jump(f, &n, offset, &s);
	case ZYDIS_CATEGORY_CALL: return call(f, &n, next, &s);
	case ZYDIS_CATEGORY_RET:
		/* not "ret n", nor far, nor iret */
		return (f->code[next - 1] == 0xc3) && is_at_entry(&s);
	default: return apply(&n, &s) && reach(f, next, &s);
	}
}

/* Each state changes at most three times after it was first reached, so the
 * work is linear. */
static bool follow(struct flow *f)
{
	struct state entry = { 8, UNKNOWN, 0, true };

	if (!reach(f, 0, &entry))
		return false;
	while (f->n_queue) {
		uint32_t offset = f->queue[--f->n_queue];

		f->flags[offset] &= ~QUEUED;
		if (!step(f, offset))
			return false;
	}
	return true;
}

static struct unwind_row row_of(const struct state *s)
{
	struct unwind_row row = { .type = UNWIND_NONE };

	if (s->depth != UNKNOWN && s->depth <= SHRT_MAX)
		row = (struct unwind_row){ .type = UNWIND_RSP, .cfa_offset = s->depth };
	else if (s->depth != UNKNOWN && s->depth % 8 == 0 && s->depth / 8 <= SHRT_MAX)
		row = (struct unwind_row){ .type = UNWIND_RSP_FAR, .cfa_offset = s->depth / 8 };
	else if (s->frame != UNKNOWN && s->frame <= SHRT_MAX)
		row = (struct unwind_row){ .type = UNWIND_RBP, .cfa_offset = s->frame };
	row.rbp_slot = row.type == UNWIND_NONE ? 0 : s->slot;
	return row;
}

static int add_rows(const struct flow *f, struct rows *rows, struct error *err)
{
	const struct unwind_row none = { .type = UNWIND_NONE };

	for (size_t at = 0, next; at < f->len; at = next) {
		bool reached = f->flags[at] & REACHED;
		int r;

		next = at + (reached ? f->lengths[at] : 1);
		/* a jump into the middle of an instruction: two readings */
		for (size_t k = at + 1; k < next && k < f->len; k++)
			if (f->flags[k] & REACHED)
				return 1;
		r = rows_add(rows, f->vaddr + at, reached ? row_of(&f->states[at]) : none, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int flow_add_rows(const uint8_t *code, size_t len, uint64_t vaddr, struct rows *rows,
                  struct error *err)
{
	struct flow f = { .code = code, .len = len, .vaddr = vaddr };
	cleanup_free struct state *states = NULL;
	cleanup_free uint8_t *flags = NULL, *lengths = NULL;
	cleanup_free uint32_t *queue = NULL;

	if (!len || len > FLOW_MAX_BYTES || !start_decoder(&f.decoder))
		return 1;
	f.states = states = malloc(len * sizeof(*states));
	f.flags = flags = calloc(len, 1);
	f.lengths = lengths = calloc(len, 1);
	f.queue = queue = malloc(len * sizeof(*queue));
	if (!states || !flags || !lengths || !queue)
		return error_oom(err);
	return follow(&f) ? add_rows(&f, rows, err) : 1;
}

void flow_each_exit(const uint8_t *code, size_t len, uint64_t vaddr,
                    void (*fn)(uint64_t target, void *arg), void *arg)
{
	ZydisDecoder decoder;
	struct insn n;

	if (!start_decoder(&decoder))
		return;
	for (size_t at = 0; at < len; at += n.i.length) {
		uint64_t target;

		if (!decode(&decoder, code + at, len - at, &n)) {
			n.i.length = 1;
			continue;
		}
		if ((n.i.meta.category != ZYDIS_CATEGORY_COND_BR &&
		     n.i.meta.category != ZYDIS_CATEGORY_UNCOND_BR) ||
		    !is_direct(&n))
			continue;
		target = target_of(&n, vaddr + at);
		if (target - vaddr >= len)
			fn(target, arg);
	}
}
