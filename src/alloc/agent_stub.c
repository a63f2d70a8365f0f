/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_stub.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"

struct out {
	uint8_t *bytes;
	uint64_t at; /* run-time address of bytes[0] */
	size_t n;
	bool failed;
};

static void put(struct out *o, const void *bytes, size_t n)
{
	if (o->n + n > AGENT_STUB_BYTES) {
		o->failed = true;
		return;
	}
	memcpy(o->bytes + o->n, bytes, n);
	o->n += n;
}

#define PUT(o, ...)                                                                                \
	put(o, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void put32(struct out *o, uint32_t v)
{
	put(o, &v, sizeof(v));
}

/* A displacement to @to from behind its own four bytes. */
static void put_to(struct out *o, uint64_t to)
{
	const int64_t far = (int64_t)(to - (o->at + o->n + 4));

	o->failed |= far != (int32_t)far;
	put32(o, (uint32_t)far);
}

/* Four bytes to be filled by land(). */
static size_t put_later(struct out *o)
{
	put32(o, 0);
	return o->n;
}

static void land(struct out *o, size_t behind)
{
	const uint32_t far = (uint32_t)(o->n - behind);

	if (!o->failed)
		memcpy(o->bytes + behind - sizeof(far), &far, sizeof(far));
}

/* ---- instructions that have moved ---- */

/* jcc rel8 or rel32, jmp rel8 or rel32: made long. */
static bool put_branch(struct out *o, const uint8_t *b, unsigned len, uint64_t at)
{
	int32_t far32;

	if (len == 2 && b[0] >= 0x70 && b[0] <= 0x7f)
		PUT(o, 0x0f, b[0] + 0x10);
	else if (len == 2 && b[0] == 0xeb)
		PUT(o, 0xe9);
	else if (len == 6 && b[0] == 0x0f && b[1] >= 0x80 && b[1] <= 0x8f)
		PUT(o, 0x0f, b[1]);
	else if (len == 5 && b[0] == 0xe9)
		PUT(o, 0xe9);
	else
		return false;
	memcpy(&far32, b + len - 4, sizeof(far32));
	put_to(o, at + len + (len == 2 ? (int8_t)b[1] : far32));
	return true;
}

/* call rel32: the callee returns to where the function has it, not to us. */
static bool put_call(struct out *o, const uint8_t *b, unsigned len, uint64_t at)
{
	const uint64_t behind = at + len;
	int32_t far;

	if (len != 5 || b[0] != 0xe8)
		return false;
	memcpy(&far, b + 1, sizeof(far));
	PUT(o, 0x68); /* push imm32, and its upper half */
	put32(o, (uint32_t)behind);
	PUT(o, 0xc7, 0x44, 0x24, 0x04); /* mov dword [rsp+4], imm32 */
	put32(o, (uint32_t)(behind >> 32));
	PUT(o, 0xe9);
	put_to(o, behind + far);
	return true;
}

static void put_moved(struct out *o, const uint8_t *b, unsigned len, unsigned disp_at, uint64_t at)
{
	int64_t far;
	int32_t disp;

	if (put_branch(o, b, len, at) || put_call(o, b, len, at))
		return;
	put(o, b, len);
	if (!disp_at || o->failed)
		return;
	memcpy(&disp, b + disp_at, sizeof(disp));
	far = (int64_t)(at + disp) - (int64_t)(o->at + o->n - len);
	disp = (int32_t)far;
	o->failed |= far != disp;
	memcpy(o->bytes + o->n - len + disp_at, &disp, sizeof(disp));
}

/* All of it, or what is to be done behind the instructions before the jump: of these, those
 * that are done again, as the registers that they wrote are lost. */
static void put_head(struct out *o, const struct agent_stub_head *h, bool all)
{
	unsigned at = 0;

	for (unsigned i = 0; i < h->n; at += h->lengths[i], i++) {
		if (all || i >= h->n_before || h->undo[i] == AGENT_STUB_REPEAT)
			put_moved(o, h->bytes + at, h->lengths[i], h->disp_at[i], h->start + at);
	}
}

static void put_way_on(struct out *o, const struct agent_stub_head *h)
{
	uint64_t behind = h->start;

	for (unsigned i = 0; i < h->n; i++)
		behind += h->lengths[i];
	PUT(o, 0xe9);
	put_to(o, behind);
}

/* ---- the fast way ---- */

/* Numbers of the registers that hold arguments 0..3. */
static const uint8_t argument_reg[4] = { 7 /* rdi */, 6 /* rsi */, 2 /* rdx */, 1 /* rcx */ };

#define DATA(base, field) ((base) + AGENT_CODE_BYTES + offsetof(struct agent_data, field))

/* eax = hash of an argument, @bits of it. */
static void put_hash_of(struct out *o, unsigned reg, unsigned bits)
{
	PUT(o, 0x69, 0xc0 | reg); /* imul eax, reg, imm32 */
	put32(o, AGENT_HASH);
	PUT(o, 0xc1, 0xe8, 32 - bits); /* shr eax, n */
}

/* Goes to the place that is returned if the @filter of 2^@bits may know the address in @reg. */
static size_t put_filter(struct out *o, uint64_t filter, unsigned bits, unsigned reg)
{
	put_hash_of(o, reg, bits);
	PUT(o, 0x4c, 0x8d, 0x15); /* lea r10, [rip+filter] */
	put_to(o, filter);
	PUT(o, 0x41, 0x80, 0x3c, 0x02, 0x00); /* cmp byte [r10+rax], 0 */
	PUT(o, 0x0f, 0x85);                   /* jne */
	return put_later(o);
}

static size_t put_if_zero(struct out *o, unsigned reg)
{
	PUT(o, 0x48, 0x85, 0xc0 | reg << 3 | reg); /* test reg, reg */
	PUT(o, 0x0f, 0x84);                        /* je */
	return put_later(o);
}

struct jumps {
	size_t items[8], n;
};

/* r10 + r11 = the thread's slot; away if it is another's. */
static void put_slot(struct out *o, uint64_t base, struct jumps *uncharged)
{
	PUT(o, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0); /* mov rax, fs:[0] */
	PUT(o, 0x44, 0x69, 0xd8);                         /* imul r11d, eax, imm32 */
	put32(o, AGENT_HASH);
	PUT(o, 0x41, 0xc1, 0xeb, 32 - AGENT_SLOT_BITS); /* shr r11d, n */
	PUT(o, 0x41, 0xc1, 0xe3, 6);                    /* shl r11d, 6: bytes of a slot */
	PUT(o, 0x4c, 0x8d, 0x15);                       /* lea r10, [rip+slots] */
	put_to(o, DATA(base, slots));
	PUT(o, 0x4b, 0x39, 0x04, 0x1a); /* cmp [r10+r11], rax */
	PUT(o, 0x0f, 0x85);             /* jne */
	uncharged->items[uncharged->n++] = put_later(o);
}
_Static_assert(sizeof(struct agent_slot) == 64, "as the shift has it");

/* r10 + r11 = the processor's slot. */
static void put_cpu(struct out *o, uint64_t base, int64_t cpu_at)
{
	o->failed |= cpu_at != (int32_t)cpu_at;
	PUT(o, 0x64, 0x44, 0x0f, 0xb7, 0x1c, 0x25); /* movzx r11d, word fs:[disp32] */
	put32(o, (uint32_t)cpu_at);
	PUT(o, 0x4c, 0x8d, 0x15); /* lea r10, [rip+cpus] */
	put_to(o, DATA(base, cpus));
}

static void put_sub(struct out *o, unsigned reg)
{
	PUT(o, 0x4b, 0x29, 0x44 | reg << 3, 0x1a, 8); /* sub [r10+r11+8], reg */
}

/* Take the size from the countdown; returns where a sample jumps from. */
static size_t put_charge(struct out *o, const struct agent_stub_fast *f, struct jumps *uncharged)
{
	const unsigned a = argument_reg[f->sizes[0]], b = argument_reg[f->sizes[1]];

	if (f->n_sizes == 1 && f->more) {
		PUT(o, 0x48, 0x8d, 0x40 | a, f->more); /* lea rax, [a+more] */
		put_sub(o, 0);
	} else if (f->n_sizes == 1) {
		put_sub(o, a);
	} else {
		PUT(o, 0x48, 0x89, 0xc0 | a << 3);  /* mov rax, a */
		PUT(o, 0x48, 0x0f, 0xaf, 0xc0 | b); /* imul rax, b */
		PUT(o, 0x0f, 0x80);                 /* jo */
		uncharged->items[uncharged->n++] = put_later(o);
		put_sub(o, 0);
	}
	PUT(o, 0x0f, 0x88); /* js */
	return put_later(o);
}
_Static_assert(offsetof(struct agent_slot, left) == 8, "as the sub has it");

/* push r, or sub rsp, imm: a pop also brings back what the register was. */
static void put_undo(struct out *o, const uint8_t *b, unsigned len)
{
	if (len == 1) {
		PUT(o, b[0] + 8); /* pop */
	} else if (len == 2) {
		PUT(o, 0x41, b[1] + 8);
	} else if (len == 4) { /* lea rsp, [rsp+n] */
		PUT(o, 0x48, 0x8d, 0x64, 0x24, b[3]);
	} else {
		PUT(o, 0x48, 0x8d, 0xa4, 0x24);
		put(o, b + 3, 4);
	}
}

static void put_slow(struct out *o, const struct agent_stub_head *h, uint64_t slow, uint32_t word)
{
	unsigned at = 0;

	for (unsigned i = 0; i < h->n_before; i++)
		at += h->lengths[i];
	for (unsigned i = h->n_before; i-- > 0;) {
		at -= h->lengths[i];
		if (h->undo[i] == AGENT_STUB_RAISE)
			put_undo(o, h->bytes + at, h->lengths[i]);
	}
	PUT(o, 0x41, 0xbb); /* mov r11d, imm32 */
	put32(o, word);
	PUT(o, 0xe9);
	put_to(o, slow);
}

/* What the function would have done, and on in it. */
static void put_rest(struct out *o, const struct agent_stub_head *h)
{
	put_head(o, h, false);
	put_way_on(o, h);
}

static void put_sampled(struct out *o, uint64_t base, uint64_t slow, unsigned number,
                        int64_t cpu_at, const struct agent_stub_head *h,
                        const struct agent_stub_fast *f)
{
	struct jumps uncharged = { .n = 0 };
	size_t charged = 0, first = 0;

	/* of nothing: it is a malloc, and a growing array's first */
	if (f->kind == AGENT_STUB_REALLOC)
		first = put_if_zero(o, argument_reg[f->ptr]);
	if (f->kind == AGENT_STUB_FREE || f->kind == AGENT_STUB_REALLOC)
		uncharged.items[uncharged.n++] = put_filter(
			o, DATA(base, filter), AGENT_BUCKET_BITS, argument_reg[f->ptr]);
	if (first)
		land(o, first);
	if (f->kind == AGENT_STUB_RESET)
		uncharged.items[uncharged.n++] = put_filter(
			o, DATA(base, context_filter), AGENT_CONTEXT_BITS, argument_reg[f->ptr]);
	if (f->kind == AGENT_STUB_ALLOC || f->kind == AGENT_STUB_REALLOC) {
		if (cpu_at)
			put_cpu(o, base, cpu_at);
		else
			put_slot(o, base, &uncharged);
		charged = put_charge(o, f, &uncharged);
	}
	if (f->kind != AGENT_STUB_SLOW)
		put_rest(o, h);
	for (size_t i = 0; i < uncharged.n; i++)
		land(o, uncharged.items[i]);
	put_slow(o, h, slow, number);
	if (charged) {
		land(o, charged);
		put_slow(o, h, slow, number | AGENT_CHARGED);
	}
}

static void put_exact(struct out *o, uint64_t base, uint64_t slow, unsigned number,
                      const struct agent_stub_head *h)
{
	size_t on;

	PUT(o, 0x83, 0x3d); /* cmp dword [rip+exact_on], 0 */
	put_to(o, DATA(base, control.exact_on) - 1);
	PUT(o, 0x00, 0x0f, 0x85); /* the 0, which the address counts from behind of; jne */
	on = put_later(o);
	put_rest(o, h);
	land(o, on);
	put_slow(o, h, slow, number);
}

int agent_stub_make(uint64_t base, uint64_t slow, unsigned number, int64_t cpu_at,
                    const struct agent_stub_head *head, const struct agent_stub_fast *fast,
                    uint8_t *code, struct agent_stub_ways *ret)
{
	struct out o = { .bytes = code,
		         .at = base + AGENT_STUBS_AT + (uint64_t)number * AGENT_STUB_BYTES };

	ret->sampled = o.at;
	put_sampled(&o, base, slow, number, cpu_at, head, fast);
	ret->exact = o.at + o.n;
	put_exact(&o, base, slow, number, head);
	ret->original = o.at + o.n;
	put_head(&o, head, true);
	put_way_on(&o, head);
	return o.failed ? -ENOTSUP : 0;
}

/* ---- plans ---- */

static bool has(const struct plan_code *c, unsigned at, enum plan_op op)
{
	return at < c->n && c->uops[at].op == op;
}

/* ARG a [MUL b] SIZE END at @at. */
static bool find_sizes(const struct plan_code *c, unsigned at, struct agent_stub_fast *ret)
{
	if (!has(c, at, PLAN_ARG))
		return false;
	ret->sizes[0] = ret->sizes[1] = c->uops[at++].n & 3;
	ret->n_sizes = 1;
	if (has(c, at, PLAN_MUL)) {
		ret->sizes[1] = c->uops[at++].n & 3;
		ret->n_sizes = 2;
	}
	return has(c, at, PLAN_SIZE) && has(c, at + 1, PLAN_END);
}

static bool find_asked(const struct plan_code *c, struct agent_stub_fast *ret)
{
	if (!c->asked)
		return false;
	ret->sizes[0] = ret->sizes[1] = (c->asked - 1) & 3;
	ret->n_sizes = 1;
	ret->more = AGENT_ASKED_MORE;
	return true;
}

struct agent_stub_fast agent_stub_understand(const struct plan_code *c)
{
	const unsigned s = c->second;
	struct agent_stub_fast f = { AGENT_STUB_SLOW };

	if (c->role == PLAN_ALLOC &&
	    (find_asked(c, &f) ||
	     (has(c, 0, PLAN_RET) && has(c, 1, PLAN_PTR) && find_sizes(c, 2, &f))))
		f.kind = AGENT_STUB_ALLOC;
	if (!has(c, 0, PLAN_ARG))
		return f;
	f.ptr = c->uops[0].n & 3;
	if (c->role == PLAN_FREE && has(c, 1, PLAN_PTR) && has(c, 2, PLAN_END))
		f.kind = AGENT_STUB_FREE;
	if (c->role == PLAN_RESET && has(c, 1, PLAN_CTX) && has(c, 2, PLAN_END))
		f.kind = AGENT_STUB_RESET;
	if (c->role == PLAN_REALLOC && has(c, 1, PLAN_OLD) && has(c, 2, PLAN_END) &&
	    (find_asked(c, &f) || (has(c, s, PLAN_RET) && has(c, s + 1, PLAN_PTR) &&
	                           find_sizes(c, s + 2, &f) && f.n_sizes == 1)))
		f.kind = AGENT_STUB_REALLOC;
	return f;
}
