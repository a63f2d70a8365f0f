/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/code.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "base/cleanup.h"
#include "runtime/plt.h"

enum {
	WINDOW_BYTES = 16 * 1024, /* how far a walk without a size looks */
	JUMP_BYTES = 256,         /* a longer jump is a tail call for such a walk */
	MAX_HOPS = 4,
};

struct decoded {
	ZydisDecodedInstruction insn;
#ifdef HAVE_ZYDIS4
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
#endif
};

static bool zydis_decode(const uint8_t *bytes, size_t len, struct decoded *d)
{
	ZydisDecoder decoder;

#ifdef HAVE_ZYDIS4
	return ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64,
	                                     ZYDIS_STACK_WIDTH_64)) &&
	       ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, len, &d->insn, d->operands));
#else
	return ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64,
	                                     ZYDIS_ADDRESS_WIDTH_64)) &&
	       ZYAN_SUCCESS(ZydisDecoderDecodeBuffer(&decoder, bytes, len, &d->insn));
#endif
}

static const ZydisDecodedOperand *operand(const struct decoded *d, unsigned i)
{
#ifdef HAVE_ZYDIS4
	return &d->operands[i];
#else
	return &d->insn.operands[i];
#endif
}

static unsigned register_bit(ZydisRegister reg)
{
	switch (ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg)) {
	case ZYDIS_REGISTER_RDI: return CODE_ARG0;
	case ZYDIS_REGISTER_RSI: return CODE_ARG1;
	case ZYDIS_REGISTER_RDX: return CODE_ARG2;
	case ZYDIS_REGISTER_RCX: return CODE_ARG3;
	case ZYDIS_REGISTER_RSP: return CODE_SP;
	case ZYDIS_REGISTER_RBP: return CODE_BP;
	default: return 0;
	}
}

/* 0..3 if the operand is one of the four argument registers, whole; else -1. */
static int argument_number(const ZydisDecodedOperand *o)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return -1;
	switch (o->reg.value) {
	case ZYDIS_REGISTER_RDI: return 0;
	case ZYDIS_REGISTER_RSI: return 1;
	case ZYDIS_REGISTER_RDX: return 2;
	case ZYDIS_REGISTER_RCX: return 3;
	default: return -1;
	}
}

static void find_copy(const struct decoded *d, struct code_insn *in)
{
	int to, from;

	in->copy_to = in->copy_from = -1;
	if (d->insn.mnemonic != ZYDIS_MNEMONIC_MOV || d->insn.operand_count < 2)
		return;
	to = argument_number(operand(d, 0));
	from = argument_number(operand(d, 1));
	if (to < 0 || from < 0)
		return;
	in->copy_to = to;
	in->copy_from = from;
}

static unsigned written(const struct decoded *d)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (operand(d, i)->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    operand(d, i)->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			bits |= register_bit(operand(d, i)->reg.value);
	return bits;
}

/*
 * Linux arch/x86/kernel/uprobes.c, branch_setup_xol_ops() and
 * push_setup_xol_ops(), 5.17 to 6.18: nop (0x90), jmp rel8/rel32, call rel32,
 * jcc rel8/rel32 without a 0x66 prefix; push r64 with no prefix but 0x41. Newer
 * kernels also emulate long nops; 6.1 does not. Prefixes other than these
 * make a form that compilers do not write for branches, so bytes are compared.
 */
static bool is_emulated(const uint8_t *b, size_t len)
{
	switch (len) {
	case 1: return b[0] == 0x90 || (b[0] >= 0x50 && b[0] <= 0x57);
	case 2:
		return b[0] == 0xeb || (b[0] >= 0x70 && b[0] <= 0x7f) ||
		       (b[0] == 0x41 && b[1] >= 0x50 && b[1] <= 0x57);
	case 5: return b[0] == 0xe8 || b[0] == 0xe9;
	case 6: return b[0] == 0x0f && b[1] >= 0x80 && b[1] <= 0x8f;
	default: return false;
	}
}

static enum code_flow flow_of(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_COND_BR: return CODE_BRANCH;
	case ZYDIS_CATEGORY_UNCOND_BR: return CODE_JUMP;
	case ZYDIS_CATEGORY_CALL: return CODE_CALL;
	case ZYDIS_CATEGORY_RET: return CODE_STOP;
	default: break;
	}
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_HLT: return CODE_STOP;
	default: return CODE_NEXT;
	}
}

/* The address that operand @o names; 0: none. An address of a program that is
 * not position-independent fits 32 bits; it may come with an index register. */
static uint64_t named(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
                      uint64_t vaddr)
{
	if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return !o->imm.is_relative && o->imm.value.u <= UINT32_MAX ? o->imm.value.u : 0;
	if (o->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return 0;
	if (o->mem.base == ZYDIS_REGISTER_RIP)
		return vaddr + insn->length + (uint64_t)o->mem.disp.value;
	if (o->mem.base != ZYDIS_REGISTER_NONE && o->mem.index == ZYDIS_REGISTER_NONE)
		return 0;
	return o->mem.disp.value > 0 ? (uint64_t)o->mem.disp.value : 0;
}

static void find_names(const struct decoded *d, uint64_t vaddr, struct code_insn *ret)
{
	size_t n = 0;

	for (unsigned i = 0; i < d->insn.operand_count && n < ARRAY_SIZE(ret->names); i++) {
		ret->names[n] = named(&d->insn, operand(d, i), vaddr);
		n += ret->names[n] != 0;
	}
}

static ZydisRegister whole(ZydisRegister reg)
{
	return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
}

/* A register that a function may change. */
static bool is_scratch(const ZydisDecodedOperand *o)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	switch (whole(o->reg.value)) {
	case ZYDIS_REGISTER_RAX:
	case ZYDIS_REGISTER_RCX:
	case ZYDIS_REGISTER_RDX:
	case ZYDIS_REGISTER_RSI:
	case ZYDIS_REGISTER_RDI:
	case ZYDIS_REGISTER_R8:
	case ZYDIS_REGISTER_R9:
	case ZYDIS_REGISTER_R10:
	case ZYDIS_REGISTER_R11: return true;
	default: return false;
	}
}

static bool reads(const ZydisDecodedOperand *o, ZydisRegister reg)
{
	if (o->type == ZYDIS_OPERAND_TYPE_REGISTER)
		return whole(o->reg.value) == reg;
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
	       (whole(o->mem.base) == reg || whole(o->mem.index) == reg);
}

/* xor r, r */
static bool is_zeroing(const struct decoded *d)
{
	return operand(d, 0)->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       operand(d, 1)->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       operand(d, 0)->reg.value == operand(d, 1)->reg.value;
}

static bool is_kept(const ZydisDecodedOperand *o)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	switch (whole(o->reg.value)) {
	case ZYDIS_REGISTER_RBX:
	case ZYDIS_REGISTER_RBP:
	case ZYDIS_REGISTER_R12:
	case ZYDIS_REGISTER_R13:
	case ZYDIS_REGISTER_R14:
	case ZYDIS_REGISTER_R15: return true;
	default: return false;
	}
}

/* @is_fine: may the register that it writes be written? */
static bool is_repeatable(const struct decoded *d, bool (*is_fine)(const ZydisDecodedOperand *o))
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_CMP: return true;
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOV: /* not of a part: what else is there would be read */
		return is_fine(operand(d, 0)) && operand(d, 0)->size >= 32 &&
		       !reads(operand(d, 1), whole(operand(d, 0)->reg.value));
	case ZYDIS_MNEMONIC_XOR:
		return is_zeroing(d) && is_fine(operand(d, 0)) && operand(d, 0)->size >= 32;
	default: return false;
	}
}

static uint16_t gpr_bit(ZydisRegister reg)
{
	const ZydisRegister r = whole(reg);

	return r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15
	               ? (uint16_t)(1 << ZydisRegisterGetId(r))
	               : 0;
}

static void find_gprs(const struct decoded *d, struct code_insn *ret)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *o = operand(d, i);

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
			ret->gpr_reads |= gpr_bit(o->mem.base) | gpr_bit(o->mem.index);
		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		/* xor r, r reads nothing */
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ &&
		    !(d->insn.mnemonic == ZYDIS_MNEMONIC_XOR && is_zeroing(d)))
			ret->gpr_reads |= gpr_bit(o->reg.value);
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			ret->gpr_writes |= gpr_bit(o->reg.value);
	}
}

static uint8_t rip_displacement(const struct decoded *d)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (operand(d, i)->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    operand(d, i)->mem.base == ZYDIS_REGISTER_RIP)
			return d->insn.raw.disp.offset;
	return 0;
}

bool code_decode(const uint8_t *bytes, size_t len, uint64_t vaddr, struct code_insn *ret)
{
	struct decoded d;
	ZyanU64 target = 0;

	if (!len || !zydis_decode(bytes, len, &d))
		return false;
	*ret = (struct code_insn){
		.length = d.insn.length,
		.emulated = is_emulated(bytes, d.insn.length),
		.endbr = d.insn.mnemonic == ZYDIS_MNEMONIC_ENDBR64,
		.repeatable = is_repeatable(&d, is_scratch),
		.repeatable_kept = is_repeatable(&d, is_kept) && !is_repeatable(&d, is_scratch),
		.disp_at = rip_displacement(&d),
		.writes = written(&d),
		.is_lea = d.insn.mnemonic == ZYDIS_MNEMONIC_LEA,
		.flow = flow_of(&d.insn),
	};
	find_copy(&d, ret);
	find_gprs(&d, ret);
	if (ret->flow != CODE_NEXT && ret->flow != CODE_STOP && d.insn.operand_count &&
	    operand(&d, 0)->type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	    ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&d.insn, operand(&d, 0), vaddr, &target))) {
		ret->direct = true;
		ret->target = target;
	}
	find_names(&d, vaddr, ret);
	return true;
}

/* Bytes from @vaddr to the end of its executable segment in the file; 0: none. */
static uint64_t executable_bytes(const struct elf_file *f, uint64_t vaddr)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		struct elf_segment s = elf_file_segment(f, i);

		if (s.type == PT_LOAD && s.flags & PF_X && vaddr >= s.vaddr &&
		    vaddr - s.vaddr < s.filesz)
			return s.filesz - (vaddr - s.vaddr);
	}
	return 0;
}

bool code_is_executable(const struct elf_file *f, uint64_t vaddr)
{
	return executable_bytes(f, vaddr) != 0;
}

static int read_code(struct elf_file *f, uint64_t vaddr, size_t len, uint8_t **ret,
                     struct error *err)
{
	cleanup_free uint8_t *bytes = malloc(len);
	int r;

	if (!bytes)
		return error_oom(err);
	r = elf_file_read_vaddr(f, vaddr, bytes, len, err);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return error_set(err, ENOEXEC, "%s: no code at 0x%llx", elf_file_name(f),
		                 (unsigned long long)vaddr);
	*ret = take_ptr(bytes);
	return 0;
}

/* Length of a function of unknown size: go on until an end behind which no
 * branch seen so far leads. */
static size_t walk(const uint8_t *bytes, size_t max, uint64_t vaddr)
{
	uint64_t furthest = 0;
	struct code_insn in;

	for (size_t at = 0; at < max; at += in.length) {
		uint64_t ahead;

		if (!code_decode(bytes + at, max - at, vaddr + at, &in))
			return at;
		ahead = in.direct && in.target > vaddr + at ? in.target - vaddr : 0;
		if (in.flow == CODE_BRANCH || (in.flow == CODE_JUMP && ahead < at + JUMP_BYTES)) {
			if (ahead > furthest && ahead < max)
				furthest = ahead;
		}
		if ((in.flow == CODE_JUMP || in.flow == CODE_STOP) && at + in.length > furthest)
			return at + in.length;
	}
	return max;
}

struct next_symbol {
	uint64_t after, distance;
};

static int nearer(const struct elf_symbol *s, void *arg)
{
	struct next_symbol *next = arg;

	if (s->defined && s->type == STT_FUNC && s->value > next->after &&
	    s->value - next->after < next->distance)
		next->distance = s->value - next->after;
	return 0;
}

/* How much to look at from @vaddr on when no size is known. */
static uint64_t window(struct elf_file *f, uint64_t vaddr, uint64_t there)
{
	struct next_symbol next = { vaddr, WINDOW_BYTES };

	if (there < next.distance)
		next.distance = there;
	elf_file_each_symbol(f, ELF_ALL, nearer, &next);
	return next.distance;
}

static bool all_decodes(const struct code_function *c)
{
	struct code_insn in;

	for (size_t at = 0; at < c->len; at += in.length)
		if (!code_decode(c->bytes + at, c->len - at, c->vaddr + at, &in))
			return false;
	return true;
}

int code_function_read(struct elf_file *f, uint64_t vaddr, uint64_t size, struct code_function *ret,
                       struct error *err)
{
	cleanup(code_function_clear) struct code_function c = { .vaddr = vaddr };
	uint64_t there = executable_bytes(f, vaddr);
	struct code_insn first;
	int r;

	if (elf_file_machine(f) != EM_X86_64)
		return error_set(err, ENOEXEC, "%s: not x86-64 code", elf_file_name(f));
	c.len = size ? size : window(f, vaddr, there);
	if (!c.len || c.len > there || c.len > CODE_MAX_BYTES)
		return error_set(err, ENOEXEC, "%s: no function of %llu bytes at 0x%llx",
		                 elf_file_name(f), (unsigned long long)size,
		                 (unsigned long long)vaddr);
	r = read_code(f, vaddr, c.len, &c.bytes, err);
	if (r < 0)
		return r;
	if (!code_decode(c.bytes, c.len, vaddr, &first))
		return error_set(err, ENOEXEC, "%s: no instruction at 0x%llx", elf_file_name(f),
		                 (unsigned long long)vaddr);
	if (!size)
		c.len = walk(c.bytes, c.len, vaddr);
	c.whole = all_decodes(&c);
	*ret = c;
	c.bytes = NULL;
	return 0;
}

void code_function_clear(struct code_function *c)
{
	free(c->bytes);
	*c = (struct code_function){ 0 };
}

/* The target if the code at @vaddr is [endbr64] jmp rel; else 0. */
static uint64_t only_jump(struct elf_file *f, uint64_t vaddr)
{
	uint8_t bytes[32];
	uint64_t there = executable_bytes(f, vaddr);
	size_t len = there < sizeof(bytes) ? there : sizeof(bytes), at = 0;
	struct error ignored;
	struct code_insn in;

	if (!len || elf_file_read_vaddr(f, vaddr, bytes, len, &ignored) < 0 ||
	    !code_decode(bytes, len, vaddr, &in))
		return 0;
	if (in.endbr) {
		at = in.length;
		if (!code_decode(bytes + at, len - at, vaddr + at, &in))
			return 0;
	}
	return in.flow == CODE_JUMP && in.direct ? in.target : 0;
}

uint64_t code_real_start(struct elf_file *f, uint64_t vaddr)
{
	for (int i = 0; i < MAX_HOPS; i++) {
		uint64_t next = only_jump(f, vaddr);

		if (next && plt_contains(f, next))
			next = plt_own_function(f, next);
		if (!next || !executable_bytes(f, next))
			break;
		vaddr = next;
	}
	return vaddr;
}
