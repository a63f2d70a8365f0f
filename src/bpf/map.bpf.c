/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */

/*
 * What changes a process's address space, told as events in one ring (see
 * map_format.h for their order), with the stack of whoever asked. The same code
 * is attached in one of two ways: to the system calls' own functions (fentry:
 * only those calls pay), else to all system calls of the machine (raw
 * tracepoints: every call of every process pays for being looked at).
 */

#include "bpf/types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/machine.bpf.h"
#include "bpf/map_format.h"
#include "bpf/numbers.bpf.h"
#include "bpf/unwind_format.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct map_counters counters;
struct stack_process processes[STACK_MAX_PROCESSES];

#define COUNT(what)       __sync_fetch_and_add(&counters.what, 1)
#define COUNT_BY(what, n) __sync_fetch_and_add(&counters.what, (n))

#include "bpf/traced.bpf.h"
#include "bpf/unwind.bpf.h"

struct work {
	u32 lock, pad;
	struct walk walk;
};

#include "bpf/stacks.bpf.h"

/* set by the loader before the load */
const volatile u8 touches = 0; /* page faults are told */

/* changed while running */
u32 used_slots;       /* the next process gets this one */
u32 stack_stride = 1; /* every how many calls a stack is taken; 0: none */
u32 stack_turn;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, u32);
	__type(value, struct map_in_flight);
} in_flight SEC(".maps");

enum {
	FLAG_SHARES_MEMORY = 0x100, /* CLONE_VM */
	FLAG_FIXED = 0x10,          /* MAP_FIXED */
	FLAG_ANONYMOUS = 0x20,
	PROTECTION_EXEC = 4,
	OPTION_SET_MM = 35, /* PR_SET_MM */
};

struct call {
	u64 arg[6];
	u64 ip, sp, bp;
	u32 slot;
};

static __always_inline int is_error(u64 ret)
{
	return ret >= (u64)-4095;
}

/* Of the current process; MAP_NO_SLOT: not ours. */
static __always_inline u32 current_slot(void)
{
	u32 group = numbers_level ? numbers_group((void *)bpf_get_current_task())
	                          : bpf_get_current_pid_tgid() >> 32;
	u32 *slot = bpf_map_lookup_elem(&groups, &group);

	return slot ? *slot : MAP_NO_SLOT;
}

static __always_inline void load_call(struct call *c, struct pt_regs *from)
{
	struct machine_regs r;

	if (bpf_probe_read_kernel(&r, sizeof(r), from))
		__builtin_memset(&r, 0, sizeof(r));
	machine_call_args(&r, c->arg);
	c->ip = PT_REGS_IP(&r);
	c->sp = PT_REGS_SP(&r);
	c->bp = PT_REGS_FP(&r);
}

static __always_inline void lose_event(u64 now)
{
	COUNT(event_lost);
	/* it only grows, but for two at the same time, which are as good as one */
	if (counters.last_lost_ns < now)
		counters.last_lost_ns = now;
}

/* The loader looks by itself, often enough. */
#define NO_WAKEUP 1

static __always_inline void tell(const struct map_event *e)
{
	struct map_event *to = bpf_ringbuf_reserve(&events, sizeof(*to), 0);

	COUNT(events);
	if (!to) {
		lose_event(e->time_ns);
		return;
	}
	*to = *e;
	bpf_ringbuf_submit(to, NO_WAKEUP);
}

static __always_inline void begin_event(struct map_event *e, u32 kind, u32 slot)
{
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->slot = slot;
	e->tid = numbers_tid();
	e->time_ns = bpf_ktime_get_ns();
}

/* A walk met code that is in no mapping we know: have the maps read again, at
 * most every 50 ms. */
static __always_inline void ask_for_modules(u32 slot)
{
	struct map_event e;

	if (!may_ask_for_modules(bpf_ktime_get_ns()))
		return;
	begin_event(&e, MAP_EVENT_MODULES, slot);
	tell(&e);
}

/* Verified once, by itself. */
__attribute__((noinline)) int take_stack(u32 slot, u64 ip, u64 sp, u64 bp, u32 exact)
{
	u32 stride = stack_stride, id;
	struct work *w;

	if (!stride || (stride > 1 && __sync_fetch_and_add(&stack_turn, 1) % stride)) {
		COUNT(stacks_dropped);
		return 0;
	}
	if (slot >= STACK_MAX_PROCESSES)
		return 0;
	w = claim_work();
	if (!w)
		return 0;
	id = store_stack(&w->walk, slot, &processes[slot], ip, sp, bp, exact != 0);
	if (w->walk.stop == UNWIND_STOP_NO_MODULE)
		ask_for_modules(slot);
	give_back(w);
	return id;
}

static __always_inline void tell_call(u32 kind, const struct call *c, u64 a, u64 b, u64 x, u64 d,
                                      u64 ret, u32 prot, u32 flags, int with_stack)
{
	struct map_event e;

	begin_event(&e, kind, c->slot);
	e.a = a;
	e.b = b;
	e.c = x;
	e.d = d;
	e.ret = ret;
	e.prot = prot;
	e.flags = flags;
	if (with_stack)
		e.stack = take_stack(c->slot, c->ip, c->sp, c->bp, 0);
	tell(&e);
}

/* ---- giving back: told when entered ---- */

static __always_inline void fly(const struct call *c, u64 start, u64 length)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();
	struct map_in_flight f = { start, start + length, c->slot, numbers_tid() };

	if (bpf_map_update_elem(&in_flight, &tid, &f, BPF_ANY))
		COUNT(no_flight);
}

/* Has this thread's call been noted when it was entered? */
static __always_inline int land(void)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();

	return !bpf_map_delete_elem(&in_flight, &tid);
}

static __always_inline u64 current_brk(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, mm, brk);
}

/* Does a new process share the memory of its maker? */
static __always_inline int shares_memory(u32 nr, const struct call *c)
{
	u64 flags = 0;

	if (nr == NR_CLONE)
		flags = c->arg[0];
	else if (nr == NR_CLONE3)
		bpf_probe_read_user(&flags, sizeof(flags), (void *)c->arg[0]);
	return (flags & FLAG_SHARES_MEMORY) != 0;
}

static __always_inline void on_enter(u32 nr, struct pt_regs *regs)
{
	struct call c;
	u64 brk;

	c.slot = current_slot();
	if (c.slot == MAP_NO_SLOT)
		return;
	load_call(&c, regs);
	switch (nr) {
	case NR_MUNMAP:
		COUNT(calls);
		fly(&c, c.arg[0], c.arg[1]);
		tell_call(MAP_EVENT_UNMAP, &c, c.arg[0], c.arg[1], 0, 0, 0, 0, 0, 1);
		break;
	case NR_MREMAP:
		COUNT(calls);
		fly(&c, c.arg[0], c.arg[1]);
		tell_call(MAP_EVENT_REMAP_BEGIN, &c, c.arg[0], c.arg[1], c.arg[2], c.arg[4], 0, 0,
		          c.arg[3], 0);
		break;
	case NR_BRK:
		brk = current_brk();
		if (!c.arg[0] || c.arg[0] == brk)
			break;
		COUNT(calls);
		fly(&c, c.arg[0], c.arg[0] < brk ? brk - c.arg[0] : 0);
		tell_call(MAP_EVENT_BRK_BEGIN, &c, c.arg[0], brk, 0, 0, 0, 0, 0, 0);
		break;
	case NR_SHMDT:
		COUNT(calls);
		fly(&c, c.arg[0], 1);
		tell_call(MAP_EVENT_SHMDT, &c, c.arg[0], 0, 0, 0, 0, 0, 0, 1);
		break;
	case NR_MADVISE:
		COUNT(calls);
		tell_call(MAP_EVENT_ADVISE, &c, c.arg[0], c.arg[1], c.arg[2], 0, 0, 0, 0, 1);
		break;
	case NR_FORK:
	case NR_CLONE:
	case NR_CLONE3:
		if (follows && !shares_memory(nr, &c))
			tell_call(MAP_EVENT_FORK_BEGIN, &c, 0, 0, 0, 0, 0, 0, 0, 0);
		break;
	}
}

/* ---- taking: told when returned ---- */

struct found {
	u64 end;
};

static long note_end(struct task_struct *task, struct vm_area_struct *vma, struct found *found)
{
	found->end = BPF_CORE_READ(vma, vm_end);
	return 0;
}

/* bpf_find_vma (Linux 5.17) and bpf_get_current_task_btf (5.11) by their numbers:
 * Ubuntu 22.04's libbpf has no names for them. */
static long (*const helper_find_vma)(void *task, u64 addr, void *callback, void *ctx,
                                     u64 flags) = (void *)180;
static struct task_struct *(*const helper_current)(void) = (void *)158;
static long (*const helper_task_regs)(struct task_struct *task) = (void *)175;

static __always_inline u64 end_of_mapping(u64 at)
{
	struct found found = { 0 };

	helper_find_vma(helper_current(), at, note_end, &found, 0);
	return found.end;
}

static __always_inline void note_code(u32 slot)
{
	if (slot < STACK_MAX_PROCESSES)
		__sync_fetch_and_add(&processes[slot].modules_changed, 1);
}

static __always_inline void mapped(const struct call *c, u64 ret)
{
	u32 prot = c->arg[2], flags = c->arg[3];

	COUNT(calls);
	if (!is_error(ret)) {
		if (prot & PROTECTION_EXEC)
			note_code(c->slot);
		tell_call(MAP_EVENT_MMAP, c, ret, c->arg[1], c->arg[5], 0, 0, prot, flags, 1);
	} else if (flags & FLAG_FIXED) {
		tell_call(MAP_EVENT_MMAP_FAILED, c, c->arg[0], c->arg[1], 0, 0, ret, prot, flags,
		          0);
	}
}

static __always_inline void unmapped(const struct call *c, u64 ret)
{
	int noted = land();

	if (is_error(ret) && noted)
		tell_call(MAP_EVENT_UNMAP_FAILED, c, c->arg[0], c->arg[1], 0, 0, ret, 0, 0, 0);
	else if (!is_error(ret) && !noted) /* entered before the attach */
		tell_call(MAP_EVENT_UNMAP, c, c->arg[0], c->arg[1], 0, 0, 0, 0, 0, 0);
}

static __always_inline void detached(const struct call *c, u64 ret)
{
	int noted = land();

	if (is_error(ret) && noted)
		tell_call(MAP_EVENT_SHMDT_FAILED, c, c->arg[0], 0, 0, 0, ret, 0, 0, 0);
	else if (!is_error(ret) && !noted)
		tell_call(MAP_EVENT_OTHER, c, 0, 0, 0, 0, ret, 0, 0, 0);
}

static __always_inline void attached(const struct call *c, u64 ret)
{
	COUNT(calls);
	if (!is_error(ret))
		tell_call(MAP_EVENT_SHMAT, c, ret, end_of_mapping(ret), c->arg[0], 0, ret, 0,
		          c->arg[2], 1);
}

static __always_inline void is_protected(const struct call *c, u64 ret)
{
	COUNT(calls);
	if (c->arg[2] & PROTECTION_EXEC && !is_error(ret))
		note_code(c->slot);
	tell_call(MAP_EVENT_PROTECT, c, c->arg[0], c->arg[1], 0, 0, ret, c->arg[2], 0, 1);
}

static __always_inline void other(u32 nr, const struct call *c, u64 ret)
{
	if (nr == NR_PRCTL && (u32)c->arg[0] != OPTION_SET_MM)
		return;
	COUNT(calls);
	tell_call(MAP_EVENT_OTHER, c, nr, 0, 0, 0, ret, 0, 0, 1);
}

static __always_inline int is_fork(u32 nr)
{
	return nr == NR_FORK || nr == NR_CLONE || nr == NR_CLONE3;
}

static __always_inline void on_exit(u32 nr, struct pt_regs *regs, u64 ret)
{
	struct call c;

	c.slot = current_slot();
	if (c.slot == MAP_NO_SLOT)
		return;
	/* in a forked child it is the copy of its maker's */
	if (is_fork(nr) && !(follows && is_error(ret)))
		return;
	load_call(&c, regs);
	if (is_fork(nr)) {
		if (!shares_memory(nr, &c))
			tell_call(MAP_EVENT_FORK_FAILED, &c, 0, 0, 0, 0, ret, 0, 0, 0);
		return;
	}
	switch (nr) {
	case NR_MMAP: mapped(&c, ret); break;
	case NR_MUNMAP: unmapped(&c, ret); break;
	case NR_MREMAP:
		land();
		tell_call(MAP_EVENT_REMAP, &c, c.arg[0], c.arg[1], c.arg[2], c.arg[4], ret, 0,
		          c.arg[3], 1);
		break;
	case NR_BRK:
		if (land())
			tell_call(MAP_EVENT_BRK, &c, c.arg[0], ret, 0, 0, 0, 0, 0, 1);
		break;
	case NR_SHMAT: attached(&c, ret); break;
	case NR_SHMDT: detached(&c, ret); break;
	case NR_MPROTECT:
	case NR_PKEY_MPROTECT: is_protected(&c, ret); break;
	default: other(nr, &c, ret); break;
	}
}

static __always_inline int matters_at_enter(u32 nr)
{
	switch (nr) {
	case NR_MUNMAP:
	case NR_BRK:
	case NR_MREMAP:
	case NR_MADVISE:
	case NR_CLONE:
	case NR_FORK:
	case NR_SHMDT:
	case NR_CLONE3: return 1;
	}
	return 0;
}

static __always_inline int matters_at_exit(u32 nr)
{
	switch (nr) {
	case NR_MMAP:
	case NR_MPROTECT:
	case NR_MUNMAP:
	case NR_BRK:
	case NR_MREMAP:
	case NR_SHMAT:
	case NR_SHMDT:
	case NR_CLONE:
	case NR_FORK:
	case NR_CLONE3:
	case NR_PRCTL:
	case NR_IO_SETUP:
	case NR_IO_DESTROY:
	case NR_REMAP_FILE_PAGES:
	case NR_PKEY_MPROTECT:
	case NR_MAP_SHADOW_STACK: return 1;
	}
	return 0;
}

/* ---- attached to all system calls ---- */

SEC("raw_tp/sys_enter")
int map_all_enter(struct bpf_raw_tracepoint_args *ctx)
{
	u64 nr = ctx->args[1];

	if (nr > 1000 || !matters_at_enter(nr))
		return 0;
	on_enter(nr, (void *)ctx->args[0]);
	return 0;
}

SEC("raw_tp/sys_exit")
int map_all_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (void *)ctx->args[0];
	u64 nr = machine_call_number(regs);

	if (nr > 1000 || !matters_at_exit(nr))
		return 0;
	on_exit(nr, regs, ctx->args[1]);
	return 0;
}

/* ---- attached to the functions of these system calls ---- */

#define AT_ENTER(name, nr)                                                                         \
	SEC("fentry/" MACHINE_CALL_PREFIX #name)                                                   \
	int map_enter_##name(u64 *ctx)                                                             \
	{                                                                                          \
		on_enter(nr, (void *)ctx[0]);                                                      \
		return 0;                                                                          \
	}
#define AT_EXIT(name, nr)                                                                          \
	SEC("fexit/" MACHINE_CALL_PREFIX #name)                                                    \
	int map_exit_##name(u64 *ctx)                                                              \
	{                                                                                          \
		on_exit(nr, (void *)ctx[0], ctx[1]);                                               \
		return 0;                                                                          \
	}

AT_ENTER(munmap, NR_MUNMAP)
AT_ENTER(brk, NR_BRK)
AT_ENTER(mremap, NR_MREMAP)
AT_ENTER(madvise, NR_MADVISE)
AT_ENTER(shmdt, NR_SHMDT)
AT_ENTER(clone, NR_CLONE)
AT_ENTER(clone3, NR_CLONE3)
AT_EXIT(mmap, NR_MMAP)
AT_EXIT(mprotect, NR_MPROTECT)
AT_EXIT(pkey_mprotect, NR_PKEY_MPROTECT)
AT_EXIT(munmap, NR_MUNMAP)
AT_EXIT(brk, NR_BRK)
AT_EXIT(mremap, NR_MREMAP)
AT_EXIT(shmat, NR_SHMAT)
AT_EXIT(shmdt, NR_SHMDT)
AT_EXIT(clone, NR_CLONE)
AT_EXIT(clone3, NR_CLONE3)
AT_EXIT(prctl, NR_PRCTL)
AT_EXIT(io_setup, NR_IO_SETUP)
AT_EXIT(io_destroy, NR_IO_DESTROY)
AT_EXIT(remap_file_pages, NR_REMAP_FILE_PAGES)
AT_EXIT(map_shadow_stack, NR_MAP_SHADOW_STACK)
#ifdef MACHINE_HAS_FORK
AT_ENTER(fork, NR_FORK)
AT_EXIT(fork, NR_FORK)
#endif

/* ---- page faults ---- */

static __always_inline int touched(u64 address, u32 in_kernel)
{
	struct map_event *e;
	struct machine_regs r;
	struct pt_regs *regs;
	u32 slot = current_slot(), stack;

	if (slot == MAP_NO_SLOT || !touches)
		return 0;
	COUNT(faults);
	COUNT_BY(kernel_faults, in_kernel);
	regs = (void *)helper_task_regs(helper_current());
	if (bpf_probe_read_kernel(&r, sizeof(r), regs))
		return 0;
	/* in user mode the instruction itself has faulted, no call */
	stack = take_stack(slot, PT_REGS_IP(&r), PT_REGS_SP(&r), PT_REGS_FP(&r), !in_kernel);
	e = bpf_ringbuf_reserve(&events, MAP_TOUCH_BYTES, 0);
	COUNT(events);
	if (!e) {
		lose_event(bpf_ktime_get_ns());
		return 0;
	}
	e->kind = MAP_EVENT_TOUCH;
	e->slot = slot;
	e->tid = numbers_tid();
	e->stack = stack;
	e->time_ns = bpf_ktime_get_ns();
	e->a = address;
	bpf_ringbuf_submit(e, NO_WAKEUP);
	return 0;
}

SEC("raw_tp/page_fault_user")
int map_fault_user(struct bpf_raw_tracepoint_args *ctx)
{
	return touched(ctx->args[0], 0);
}

SEC("raw_tp/page_fault_kernel")
int map_fault_kernel(struct bpf_raw_tracepoint_args *ctx)
{
	return (s64)ctx->args[0] < 0 ? 0 : touched(ctx->args[0], 1);
}

/* ---- processes ---- */

/* A slot for another process; its stacks are walked with the tables of @like
 * until it has its own. */
static __always_inline u32 new_slot(u32 pid, u32 like)
{
	u32 slot = __sync_fetch_and_add(&used_slots, 1);

	if (slot >= STACK_MAX_PROCESSES) {
		COUNT(no_slot);
		return MAP_NO_SLOT;
	}
	if (like < STACK_MAX_PROCESSES)
		processes[slot] = processes[like];
	processes[slot].tgid = pid;
	processes[slot].active = 1;
	return slot;
}

SEC("raw_tp/sched_process_fork")
int map_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	u32 group = numbers_group(parent), pid = numbers_group(child);
	u32 *known = bpf_map_lookup_elem(&groups, &group), slot;
	int shares;
	struct map_event e;

	if (!known || pid == group)
		return 0;
	shares = BPF_CORE_READ(child, mm) == BPF_CORE_READ(parent, mm);
	if (!shares && !follows)
		return 0;
	slot = shares ? *known : new_slot(pid, *known);
	if (slot == MAP_NO_SLOT)
		return 0;
	bpf_map_update_elem(&groups, &pid, &slot, BPF_ANY);
	begin_event(&e, MAP_EVENT_FORK, *known);
	e.pid = group;
	e.a = pid;
	e.b = slot;
	e.flags = shares;
	tell(&e);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int map_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 group = numbers_group((void *)bpf_get_current_task());
	u32 *known = bpf_map_lookup_elem(&groups, &group), was, slot;
	struct map_event e;

	if (!known)
		return 0;
	was = *known;
	slot = follows ? new_slot(group, MAP_NO_SLOT) : MAP_NO_SLOT;
	if (slot == MAP_NO_SLOT)
		bpf_map_delete_elem(&groups, &group);
	else
		bpf_map_update_elem(&groups, &group, &slot, BPF_ANY);
	begin_event(&e, MAP_EVENT_EXEC, was);
	e.pid = group;
	e.a = slot;
	/* who shared another's memory leaves it to that one */
	e.flags = was < STACK_MAX_PROCESSES && processes[was].tgid != group;
	tell(&e);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int map_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	u32 group = numbers_group((void *)bpf_get_current_task()), was;
	u32 *known = bpf_map_lookup_elem(&groups, &group);
	struct map_event e;

	if (!known || BPF_CORE_READ(task, signal, live.counter))
		return 0;
	was = *known;
	bpf_map_delete_elem(&groups, &group);
	if (was < STACK_MAX_PROCESSES && processes[was].tgid != group)
		return 0;
	begin_event(&e, MAP_EVENT_EXIT, was);
	e.pid = group;
	tell(&e);
	return 0;
}
