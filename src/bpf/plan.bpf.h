/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/* The interpreter of probe plans (plan_format.h). As in the unwinder, its
 * state lives in a claimed work slot. */

struct plan_vm {
	u64 arg[4], ret, acc, tmp[4];
	u64 ptr, size, context, old, weight;
	u64 reg[16];
	u32 skip, bad;
	u32 at, plan; /* where in plans[plan] the next operation is */
};

struct plan_code plans[ALLOC_MAX_PLANS];

static __always_inline u64 pick(const u64 *v, u32 n)
{
	return n == 0 ? v[0] : n == 1 ? v[1] : n == 2 ? v[2] : v[3];
}

static __always_inline void put(u64 *v, u32 n, u64 x)
{
	if (n == 0)
		v[0] = x;
	else if (n == 1)
		v[1] = x;
	else if (n == 2)
		v[2] = x;
	else
		v[3] = x;
}

static __always_inline u64 load(struct plan_vm *vm, u32 bytes, s64 offset)
{
	u64 v = 0;

	if (bpf_probe_read_user(&v, bytes, (void *)(vm->acc + offset)))
		vm->bad = 1;
	return v;
}

static __always_inline void execute(struct plan_vm *vm, const struct plan_uop *op)
{
	s64 imm = op->imm;

	switch (op->op) {
	case PLAN_ARG: vm->acc = pick(vm->arg, op->n); break;
	case PLAN_RET: vm->acc = vm->ret; break;
	case PLAN_IMM: vm->acc = imm; break;
	case PLAN_ADDI: vm->acc += imm; break;
	case PLAN_ANDI: vm->acc &= imm; break;
	case PLAN_SHRI: vm->acc >>= imm & 63; break;
	case PLAN_SHLI: vm->acc <<= imm & 63; break;
	case PLAN_LD8: vm->acc = load(vm, 8, imm); break;
	case PLAN_LD4: vm->acc = load(vm, 4, imm); break;
	case PLAN_ST: put(vm->tmp, op->n, vm->acc); break;
	case PLAN_LDT: vm->acc = pick(vm->tmp, op->n); break;
	case PLAN_ADD: vm->acc += pick(vm->tmp, op->n); break;
	case PLAN_SUB: vm->acc -= pick(vm->tmp, op->n); break;
	case PLAN_MUL: vm->acc *= pick(vm->arg, op->n); break;
	case PLAN_SHLV: vm->acc <<= pick(vm->tmp, op->n) & 63; break;
	case PLAN_SKZ: vm->skip = vm->acc ? 0 : op->n; break;
	case PLAN_SKNZ: vm->skip = vm->acc ? op->n : 0; break;
	case PLAN_PTR: vm->ptr = vm->acc; break;
	case PLAN_SIZE: vm->size = vm->acc; break;
	case PLAN_CTX: vm->context = vm->acc; break;
	case PLAN_OLD: vm->old = vm->acc; break;
	case PLAN_REG: vm->acc = vm->reg[op->n & 15]; break;
	case PLAN_WEIGHT: vm->weight = vm->acc; break;
	}
}

static long plan_step(u32 i, struct plan_vm **ctx)
{
	struct plan_vm *vm = *ctx;
	u32 at = vm->at, plan = vm->plan;
	const struct plan_uop *op;

	if (at >= PLAN_MAX_UOPS || plan >= ALLOC_MAX_PLANS)
		return 1;
	op = &plans[plan].uops[at];
	vm->at = at + 1;
	if (vm->skip) {
		vm->skip--;
		return 0;
	}
	if (op->op == PLAN_END)
		return 1;
	execute(vm, op);
	return 0;
}

/* Run the section of plans[@plan] that begins at operation @from. vm->arg and
 * vm->ret are set; ptr, size, context and old are the result. */
static __always_inline void run_plan(struct plan_vm *vm, u32 plan, u32 from)
{
	struct plan_vm *ctx = vm;

	vm->plan = plan;
	vm->at = from;
	vm->skip = 0;
	vm->bad = 0;
	vm->acc = 0;
	vm->ptr = 0;
	vm->size = 0;
	vm->context = 0;
	vm->old = 0;
	vm->weight = 0;
	helper_loop(PLAN_MAX_UOPS, plan_step, &ctx, 0);
	if (vm->bad)
		__sync_fetch_and_add(&counters.bad_read, 1);
}
