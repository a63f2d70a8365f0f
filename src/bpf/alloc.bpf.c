/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */

/*
 * The exact engine: executes probe plans at the entries and returns of
 * allocator functions, and keeps the table of what is live. Rules that make it
 * exact (each was paid for with a wrong figure):
 *
 *  - A call whose return address lies inside an allocator function is part of
 *    another call. That is decided by the address alone, so no throw, longjmp
 *    or signal can leave the decision stale.
 *  - What an entry knows for its return is kept under the address of the
 *    call's return address: unique for a thread, and a tail call shares it, so
 *    that calloc -> jmp malloc counts once.
 *  - free and realloc take the old block out at their entry, before another
 *    thread can be given its address.
 *  - Nothing here may rely on per-CPU scratch: a uprobe's program can be
 *    preempted by another thread's on the same CPU.
 */

#include "bpf/types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/plan_format.h"
#include "bpf/unwind_format.h"

#include "bpf/alloc_format.h"
#include "bpf/numbers.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct alloc_counters counters;
struct stack_process processes[STACK_MAX_PROCESSES];

#define COUNT(what)       __sync_fetch_and_add(&counters.what, 1)
#define COUNT_BY(what, n) __sync_fetch_and_add(&counters.what, (n))

#include "bpf/plan.bpf.h"
#include "bpf/traced.bpf.h"
#include "bpf/unwind.bpf.h"

/* set by the loader before the load */
const volatile u8 want_stacks = 1;
/* A throwing function that is asked for more than this is not waited for: its
 * return probe would turn the exception into std::terminate(). */
const volatile u64 throw_limit = 1ULL << 30;

/* changed while running */
u32 n_levels;     /* levels 0 .. n_levels - 1 exist */
u32 active_level; /* where new blocks go */
u32 active_resets;
u32 closed_levels; /* one bit each: nothing new may go there, it is being swept */
u64 epoch = 1;
u64 level_entries[ALLOC_MAX_LEVELS];

struct level {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, struct alloc_entry);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, ALLOC_MAX_LEVELS);
	__type(key, u32);
	__array(values, struct level);
} levels SEC(".maps");

struct reset_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, struct reset_table);
} resets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, u64);
	__type(value, struct alloc_stash);
} stashes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct alloc_range);
} ranges SEC(".maps");

/* hits of each thread, a sample of them; for the guard */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 13);
	__type(key, u32);
	__type(value, u64);
} thread_hits SEC(".maps");

struct work {
	u32 lock, pad;
	struct plan_vm vm;
	struct walk walk;
};

#include "bpf/machine.bpf.h"
#include "bpf/stacks.bpf.h"

static __always_inline u64 key_of(u32 slot, u64 address)
{
	return address | (u64)slot << ALLOC_SLOT_SHIFT;
}

static __always_inline void send_event(u32 kind, u32 slot, u32 pid, u32 parent)
{
	struct alloc_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		COUNT(event_lost);
		return;
	}
	e->kind = kind;
	e->slot = slot;
	e->pid = pid;
	e->parent = parent;
	e->time_ns = bpf_ktime_get_ns();
	bpf_ringbuf_submit(e, 0);
}

/* ---- the live table ---- */

/* Functions that are verified once, by themselves, and not again on each way
 * that leads to them: half of the time of an attach was the verifier's. */
#define GLOBAL __attribute__((noinline))

static __always_inline void *level_map(u32 level)
{
	return level < ALLOC_MAX_LEVELS ? bpf_map_lookup_elem(&levels, &level) : 0;
}

/* Copy the entry of @key to @ret and take it out; 1 if there was one. An older
 * copy in another level (its context was reset, or its free was lost) goes too. */
GLOBAL int take_out(u64 key, struct alloc_entry *ret)
{
	int found = 0;

	if (!ret)
		return 0;
	for (u32 i = 0; i < ALLOC_MAX_LEVELS && i < n_levels; i++) {
		struct alloc_entry *e;
		void *map = level_map(i);

		if (!map)
			continue;
		e = bpf_map_lookup_elem(map, &key);
		if (!e)
			continue;
		if (!found || e->epoch >= ret->epoch)
			*ret = *e;
		if (!bpf_map_delete_elem(map, &key)) {
			__sync_fetch_and_add(&level_entries[i], -1);
			found = 1;
		}
	}
	return found;
}

static __always_inline void lose(const struct alloc_entry *e)
{
	u32 id = e->stack;
	struct stack_record *s = bpf_map_lookup_elem(&stacks, &id);

	COUNT(table_full);
	COUNT_BY(table_full_bytes, e->size);
	if (s) {
		__sync_fetch_and_add(&s->lost_objects, 1);
		__sync_fetch_and_add(&s->lost_bytes, e->size);
	}
}

/* A block is to be made where the table has one already. Of a context that was
 * reset since: rightly so. */
static __always_inline void note_replaced(const struct alloc_entry *e)
{
	if (e && !e->context)
		COUNT(replaced);
}

/* Into the active level; when that is full, into any. Copies in other levels are
 * the caller's business. */
GLOBAL int put_in(u64 key, const struct alloc_entry *entry)
{
	struct alloc_entry e;
	u32 first = active_level;
	long r = -1;

	if (!entry)
		return 0;
	e = *entry; /* Linux 6.1 takes map values from the stack, not from an argument */
	for (u32 i = 0; i < ALLOC_MAX_LEVELS && i < n_levels; i++) {
		u32 level = i == 0 ? first : i - (i <= first);
		void *map = level_map(level);

		if (!map || closed_levels >> (level & 31) & 1)
			continue;
		r = bpf_map_update_elem(map, &key, &e, BPF_NOEXIST);
		if (!r) {
			if (level < ALLOC_MAX_LEVELS)
				__sync_fetch_and_add(&level_entries[level], 1);
			break;
		}
		if (r == -17 /* EEXIST: stale */) {
			note_replaced(bpf_map_lookup_elem(map, &key));
			r = bpf_map_update_elem(map, &key, &e, BPF_ANY);
			break;
		}
	}
	if (r)
		lose(&e);
	return 0;
}

/* Is there an entry for @key in any level? */
GLOBAL int is_known(u64 key)
{
	for (u32 i = 0; i < ALLOC_MAX_LEVELS && i < n_levels; i++) {
		void *map = level_map(i);

		if (map && bpf_map_lookup_elem(map, &key))
			return 1;
	}
	return 0;
}

/* A new block; stale copies of its key in other levels are taken out first. */
static __always_inline void insert(u64 key, const struct alloc_entry *e)
{
	if (n_levels > 1) {
		struct alloc_entry stale = {};

		if (take_out(key, &stale))
			note_replaced(&stale);
	}
	put_in(key, e);
}

/* ---- stacks ---- */

/* A walk met code that is in no mapping we know: have the maps read again, at
 * most every 50 ms. */
static __always_inline void ask_for_modules(u32 slot, u32 tgid)
{
	if (may_ask_for_modules(bpf_ktime_get_ns()))
		send_event(ALLOC_EVENT_MODULES, slot, tgid, 0);
}

static __always_inline u32 record_stack(struct work *work, u32 slot, const struct stack_process *p,
                                        u64 pc, u64 sp, u64 bp)
{
	u32 id = store_stack(&work->walk, slot, p, pc, sp, bp, 0);

	if (work->walk.stop == UNWIND_STOP_NO_MODULE)
		ask_for_modules(slot, p->tgid);
	return id;
}

/* ---- the probes ---- */

/* Does @address lie in code that belongs to an allocator of this process? */
static __always_inline int is_internal(const struct stack_process *p, u64 address)
{
	u64 where = *(const volatile u64 *)&p->first_range; /* one load, as in walk_stack() */
	u32 first = (u32)where, lo = 0, hi = where >> 32, key;
	struct alloc_range *r;

	for (int i = 0; i < 12 && lo < hi; i++) {
		key = first + (lo + hi) / 2;
		r = bpf_map_lookup_elem(&ranges, &key);
		if (!r)
			return 0;
		if (r->start <= address)
			lo = (lo + hi) / 2 + 1;
		else
			hi = (lo + hi) / 2;
	}
	if (!lo)
		return 0;
	key = first + lo - 1;
	r = bpf_map_lookup_elem(&ranges, &key);
	return r && address < r->end;
}

static __always_inline void charge_thread(void)
{
	u64 n = __sync_fetch_and_add(&counters.hits, 1), one = ALLOC_THREAD_STRIDE, *hits;
	u32 tid = numbers_tid();

	if (n % ALLOC_THREAD_STRIDE)
		return;
	hits = bpf_map_lookup_elem(&thread_hits, &tid);
	if (hits)
		__sync_fetch_and_add(hits, one);
	else
		bpf_map_update_elem(&thread_hits, &tid, &one, BPF_ANY);
}

struct call {
	u32 slot, plan, role;
	u32 is_second; /* of two sets of links that hear the same call */
	struct stack_process *process;
};

/* The cookie is (generation << 32 | slot << 16 | plan); false when the process
 * has ended. */
static __always_inline int find_call(u64 cookie, struct call *c)
{
	u64 slot = (u32)cookie >> 16, plan = cookie & 0xffff;

	/* else clang 18 checks one copy and uses another, which the verifier refuses */
	ONE_COPY(slot);
	ONE_COPY(plan);
	if (slot >= STACK_MAX_PROCESSES || plan >= ALLOC_MAX_PLANS)
		return 0;
	c->slot = slot;
	c->plan = plan;
	c->process = &processes[c->slot];
	c->role = plans[c->plan].role;
	c->is_second = 0;
	return c->process->active;
}

/* Who called. A function that has a return probe and then jumps to this one
 * leaves the kernel's trampoline where the caller's address was (*@tail). */
static __always_inline u64 caller_of(const struct call *c, u64 sp, int *tail)
{
	u64 address = 0, instance;

	bpf_probe_read_user(&address, 8, (void *)sp);
	*tail = address && address == trampoline_of(c->slot);
	if (!*tail)
		return address;
	instance = first_instance();
	return original_return(&instance, sp);
}

/* free() of a pointer that is not in the table: a block from before the
 * attach, unless the allocator itself frees (realloc's helper). */
static __always_inline void count_older_free(struct work *w, const struct call *c, u64 sp)
{
	u32 second = plans[c->plan].second;
	int tail;

	if (c->is_second || is_internal(c->process, caller_of(c, sp, &tail)))
		return;
	COUNT(older_frees);
	if (!second) {
		COUNT(older_free_unsized);
		return;
	}
	run_plan(&w->vm, c->plan, second);
	if (w->vm.bad || !w->vm.size)
		COUNT(older_free_unsized);
	else
		COUNT_BY(older_free_bytes, w->vm.size);
}

/* Bytes that count of a block: its own, or those that it stands for. */
static __always_inline u64 bytes_of(const struct call *c, const struct alloc_entry *e)
{
	return plans[c->plan].flags & PLAN_WEIGHTED ? e->context : e->size;
}

static __always_inline void on_free(struct work *w, const struct call *c, u64 sp)
{
	struct alloc_entry e = {};
	u64 ptr = w->vm.ptr;

	if (!ptr)
		return;
	if (ptr >> ALLOC_SLOT_SHIFT) {
		COUNT(bad_address);
		return;
	}
	if (!take_out(key_of(c->slot, ptr), &e)) {
		count_older_free(w, c, sp);
		return;
	}
	COUNT(frees);
	COUNT_BY(free_bytes, bytes_of(c, &e));
}

static __always_inline void on_reset(const struct call *c, u64 context)
{
	u64 key = key_of(c->slot, context), now = __sync_fetch_and_add(&epoch, 1) + 1;
	u32 which = active_resets;
	void *map = bpf_map_lookup_elem(&resets, &which);

	COUNT(resets);
	if (map && bpf_map_update_elem(map, &key, &now, BPF_ANY))
		COUNT(resets_full);
}

/* The call that used this place of the stack before (@was) has not returned.
 * Either it jumped to the one that is entered now (@tail), whose affair its old
 * block is now, or it never will (throw, longjmp), and the block lives on. */
static __always_inline void hand_over(const struct alloc_stash *was, struct alloc_stash *s,
                                      u32 slot, int tail)
{
	if (!tail)
		COUNT(dead_stash);
	if (!was->has_old)
		return;
	if (s && was->old_ptr == s->old_ptr) {
		if (!s->has_old) {
			s->old = was->old;
			s->has_old = 1;
		}
		return;
	}
	COUNT(undone);
	if (!is_known(key_of(slot, was->old_ptr))) {
		struct alloc_entry old = was->old;

		put_in(key_of(slot, was->old_ptr), &old);
	}
}

/* The outer function of a tail call: its return probe fires right after ours. */
static __always_inline void keep_outer(const struct alloc_stash *was, struct alloc_stash *s)
{
	if (was->settled || was->has_old)
		return;
	s->outer_plan = was->outer_plan ? was->outer_plan : was->plan + 1;
	s->outer_arg[0] = was->outer_plan ? was->outer_arg[0] : was->arg[0];
	s->outer_arg[1] = was->outer_plan ? was->outer_arg[1] : was->arg[1];
	s->outer_arg[2] = was->outer_plan ? was->outer_arg[2] : was->arg[2];
	s->outer_arg[3] = was->outer_plan ? was->outer_arg[3] : was->arg[3];
}

/* Remember a call for its return. */
static __always_inline void stash_call(struct work *w, const struct call *c, u64 sp, int tail)
{
	u64 key = key_of(c->slot, sp);
	struct alloc_stash s = { .plan = c->plan }, *was;

	s.arg[0] = w->vm.arg[0];
	s.arg[1] = w->vm.arg[1];
	s.arg[2] = w->vm.arg[2];
	s.arg[3] = w->vm.arg[3];
	if (c->role == PLAN_REALLOC) {
		s.old_ptr = w->vm.old;
		if (s.old_ptr && !(s.old_ptr >> ALLOC_SLOT_SHIFT))
			s.has_old = take_out(key_of(c->slot, s.old_ptr), &s.old);
	}
	/* nearly always the place is free: one step instead of two */
	if (!bpf_map_update_elem(&stashes, &key, &s, BPF_NOEXIST))
		return;
	was = bpf_map_lookup_elem(&stashes, &key);
	if (was) {
		hand_over(was, &s, c->slot, tail);
		if (tail)
			keep_outer(was, &s);
	}
	if (bpf_map_update_elem(&stashes, &key, &s, BPF_ANY))
		COUNT(stash_full);
}

/* An internal call has no stash; one that is at its place is a dead call's, and
 * must not be taken for its own when it returns. */
static __always_inline void drop_stash(const struct call *c, u64 sp)
{
	u64 key = key_of(c->slot, sp);
	struct alloc_stash *was = bpf_map_lookup_elem(&stashes, &key);

	if (!was)
		return;
	hand_over(was, 0, c->slot, 0);
	bpf_map_delete_elem(&stashes, &key);
}

/* Is this entry by links that count? Of two sets that take turns both do, so that no
 * call falls between them: what is said twice is taken once. */
static __always_inline int is_heard(u64 cookie, struct call *c)
{
	u32 by = cookie >> 32, now = c->process->generation, next = c->process->next_generation;

	c->is_second = by == now && now != next;
	/* sessions have one set of links for good */
	return by == now || by == next || (plans[c->plan].flags & PLAN_THROWS);
}

static __always_inline void record(struct pt_regs *ctx, struct work *w, const struct call *c)
{
	struct alloc_entry e = { .size = w->vm.size, .context = w->vm.context };
	u64 ptr = w->vm.ptr, blocks = 1;

	if (ptr >> ALLOC_SLOT_SHIFT) {
		COUNT(bad_address);
		return;
	}
	if (c->role == PLAN_MARK) {
		e.context = w->vm.weight > e.size ? w->vm.weight : e.size;
		blocks = alloc_weight_blocks(e.size, e.context);
	}
	e.time_ns = bpf_ktime_get_ns();
	e.epoch = epoch;
	e.tid = numbers_tid();
	if (want_stacks)
		e.stack = record_stack(w, c->slot, c->process, PT_REGS_IP(ctx), PT_REGS_SP(ctx),
		                       PT_REGS_FP(ctx));
	COUNT_BY(alloc_bytes, bytes_of(c, &e));
	if (e.stack) {
		u32 id = e.stack;
		struct stack_record *s = bpf_map_lookup_elem(&stacks, &id);

		if (s) {
			__sync_fetch_and_add(&s->alloc_objects, blocks);
			__sync_fetch_and_add(&s->alloc_bytes, bytes_of(c, &e));
		}
	}
	insert(key_of(c->slot, ptr), &e);
}

/* The program says that it has taken a sample. */
static __always_inline void on_mark(struct pt_regs *ctx, struct work *w, const struct call *c)
{
	COUNT(allocs);
	if (!w->vm.ptr || w->vm.bad)
		COUNT(failed);
	else
		record(ctx, w, c);
}

/* At a function's entry; 1: its return is of no interest. */
static __always_inline int on_entry(struct pt_regs *ctx, u64 cookie)
{
	u64 sp = PT_REGS_SP(ctx);
	struct work *w;
	struct call c;
	int done = 1, tail = 0;

	if (!find_call(cookie, &c) || !is_heard(cookie, &c))
		return 1;
	charge_thread();
	if ((c.role == PLAN_ALLOC || c.role == PLAN_REALLOC) &&
	    is_internal(c.process, caller_of(&c, sp, &tail))) {
		COUNT(internal);
		drop_stash(&c, sp);
		return 1;
	}
	w = claim_work();
	if (!w)
		return 1;
	w->vm.arg[0] = PT_REGS_PARM1(ctx);
	w->vm.arg[1] = PT_REGS_PARM2(ctx);
	w->vm.arg[2] = PT_REGS_PARM3(ctx);
	w->vm.arg[3] = PT_REGS_PARM4(ctx);
	if (plans[c.plan].flags & PLAN_WEIGHTED)
		machine_registers(ctx, w->vm.reg);
	if (c.role != PLAN_ALLOC || (plans[c.plan].flags & PLAN_THROWS)) {
		w->vm.ret = 0;
		run_plan(&w->vm, c.plan, 0);
	}
	if ((plans[c.plan].flags & PLAN_THROWS) && w->vm.size > throw_limit) {
		COUNT(refused_returns);
	} else if (c.role == PLAN_FREE) {
		on_free(w, &c, sp);
	} else if (c.role == PLAN_RESET) {
		on_reset(&c, w->vm.context);
	} else if (c.role == PLAN_MARK) {
		on_mark(ctx, w, &c);
	} else {
		stash_call(w, &c, sp, tail);
		done = 0;
	}
	give_back(w);
	return done;
}

/* A realloc that returned: what became of the old block? */
static __always_inline void settle_old(struct work *w, const struct call *c,
                                       const struct alloc_stash *s)
{
	COUNT(reallocs);
	if (!w->vm.ptr && w->vm.size) { /* failed */
		struct alloc_entry old = s->old;

		if (s->has_old) {
			COUNT(undone);
			put_in(key_of(c->slot, s->old_ptr), &old);
		}
		return;
	}
	if (s->has_old) {
		COUNT(frees);
		COUNT_BY(free_bytes, s->old.size);
	} else if (s->old_ptr) {
		COUNT(older_frees);
		COUNT(older_free_unsized);
	}
}

static __always_inline struct alloc_entry *find_entry(u64 key)
{
	for (u32 i = 0; i < ALLOC_MAX_LEVELS && i < n_levels; i++) {
		void *map = level_map(i);
		struct alloc_entry *e = map ? bpf_map_lookup_elem(map, &key) : 0;

		if (e)
			return e;
	}
	return 0;
}

/* The outer function of a tail call returns, too: its size is what was asked
 * for (memalign was given pvalloc's size rounded up). */
static __always_inline void settle_outer(struct work *w, const struct call *c, u64 ptr)
{
	struct alloc_entry *e = find_entry(key_of(c->slot, ptr));
	struct stack_record *s;
	u64 more;
	u32 id;

	if (!e || !w->vm.size || w->vm.ptr != ptr || w->vm.size == e->size)
		return;
	more = w->vm.size - e->size;
	e->size += more;
	COUNT_BY(alloc_bytes, more);
	id = e->stack;
	s = id ? bpf_map_lookup_elem(&stacks, &id) : 0;
	if (s)
		__sync_fetch_and_add(&s->alloc_bytes, more);
}

static __always_inline void load_call(struct plan_vm *vm, const u64 *arg, u64 ret)
{
	vm->arg[0] = arg[0];
	vm->arg[1] = arg[1];
	vm->arg[2] = arg[2];
	vm->arg[3] = arg[3];
	vm->ret = ret;
}

/* The stash has served: gone, or left for the outer function of a tail call. */
static __always_inline void end_stash(u64 key, struct alloc_stash *s, u64 ptr)
{
	if (!s->outer_plan || !ptr) {
		bpf_map_delete_elem(&stashes, &key);
		return;
	}
	s->plan = s->outer_plan - 1;
	s->outer_plan = 0;
	s->settled = 1;
	s->settled_ptr = ptr;
	s->has_old = 0;
	s->arg[0] = s->outer_arg[0];
	s->arg[1] = s->outer_arg[1];
	s->arg[2] = s->outer_arg[2];
	s->arg[3] = s->outer_arg[3];
}

static __always_inline void on_return(struct pt_regs *ctx, u64 cookie)
{
	struct alloc_stash *s;
	struct work *w;
	struct call c;
	u64 key, ptr;

	if (!find_call(cookie, &c) || (c.role != PLAN_ALLOC && c.role != PLAN_REALLOC))
		return;
	key = key_of(c.slot, PT_REGS_SP(ctx) - 8);
	s = bpf_map_lookup_elem(&stashes, &key);
	if (!s || s->plan != c.plan) {
		COUNT(no_stash);
		return;
	}
	w = claim_work();
	if (!w)
		return;
	load_call(&w->vm, s->arg, PT_REGS_RC(ctx));
	run_plan(&w->vm, c.plan, c.role == PLAN_REALLOC ? plans[c.plan].second : 0);
	if (s->settled) {
		settle_outer(w, &c, s->settled_ptr);
		bpf_map_delete_elem(&stashes, &key);
		give_back(w);
		return;
	}
	if (c.role == PLAN_REALLOC)
		settle_old(w, &c, s);
	else
		COUNT(allocs);
	ptr = w->vm.ptr;
	if (ptr)
		record(ctx, w, &c);
	else
		COUNT(failed);
	end_stash(key, s, ptr);
	give_back(w);
}

/* Each twice: a program is either for perf events or for uprobe_multi links
 * (Linux 6.6). */
SEC("uprobe")
int alloc_entry(struct pt_regs *ctx)
{
	on_entry(ctx, bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("uprobe")
int alloc_entry_multi(struct pt_regs *ctx)
{
	on_entry(ctx, bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("uretprobe")
int alloc_return(struct pt_regs *ctx)
{
	on_return(ctx, bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("uretprobe")
int alloc_return_multi(struct pt_regs *ctx)
{
	on_return(ctx, bpf_get_attach_cookie(ctx));
	return 0;
}

/* Only counts, for the guard's estimate before anything is recorded; a few
 * stacks are walked to learn how deep they are. */
static __always_inline int count(struct pt_regs *ctx)
{
	u64 return_address = 0;
	struct work *w;
	struct call c;

	if (!find_call(bpf_get_attach_cookie(ctx), &c))
		return 0;
	charge_thread();
	if (c.role != PLAN_ALLOC && c.role != PLAN_REALLOC)
		return 0;
	if (__sync_fetch_and_add(&counters.allocs, 1) % 256)
		return 0;
	w = claim_work();
	if (!w)
		return 0;
	bpf_probe_read_user(&return_address, 8, (void *)PT_REGS_SP(ctx));
	walk_stack(&w->walk, c.process, c.slot, return_address, PT_REGS_SP(ctx) + 8,
	           PT_REGS_FP(ctx), 0);
	COUNT(walks);
	COUNT_BY(frames, w->walk.n);
	give_back(w);
	return 0;
}

SEC("uprobe")
int alloc_count(struct pt_regs *ctx)
{
	return count(ctx);
}

SEC("uprobe")
int alloc_count_multi(struct pt_regs *ctx)
{
	return count(ctx);
}

/* ld.so says that its list of modules has changed (_dl_debug_state). */
static __always_inline int modules_changed(struct pt_regs *ctx)
{
	struct call c;

	if (!find_call(bpf_get_attach_cookie(ctx), &c))
		return 0;
	__sync_fetch_and_add(&c.process->modules_changed, 1);
	send_event(ALLOC_EVENT_MODULES, c.slot, c.process->tgid, 0);
	return 0;
}

SEC("uprobe")
int alloc_modules(struct pt_regs *ctx)
{
	return modules_changed(ctx);
}

SEC("uprobe")
int alloc_modules_multi(struct pt_regs *ctx)
{
	return modules_changed(ctx);
}

/* Kernel 6.13 and later: one program for entry and return, and the entry may
 * refuse the return; for functions that throw. */
#ifdef WITHOUT_SESSIONS
static __always_inline _Bool bpf_session_is_return(void)
{
	return 0;
}
#else
extern _Bool bpf_session_is_return(void) __ksym __weak;
#endif

SEC("uprobe")
int alloc_session(struct pt_regs *ctx)
{
	u64 cookie = bpf_get_attach_cookie(ctx);

	if (!bpf_session_is_return())
		return on_entry(ctx, cookie);
	on_return(ctx, cookie);
	return 0;
}

/* A child of a traced process, by way of its parents: is it there to be taken
 * in? Its exec and its own children must not be missed until then. */
SEC("raw_tp/sched_process_fork")
int process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	u32 group = numbers_group(parent), pid = numbers_group(child);
	u32 *slot = bpf_map_lookup_elem(&groups, &group), pending = STACK_SLOT_PENDING;

	if (!slot || pid == group)
		return 0;
	if (follows)
		bpf_map_update_elem(&groups, &pid, &pending, BPF_NOEXIST);
	send_event(ALLOC_EVENT_FORK, *slot, pid, group);
	return 0;
}

/* The new program must not be taken for the old one: its record ends here,
 * before its first instruction. */
SEC("raw_tp/sched_process_exec")
int process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 group = numbers_group((void *)bpf_get_current_task());
	u32 *slot = bpf_map_lookup_elem(&groups, &group), was;

	if (!slot)
		return 0;
	was = *slot;
	if (was < STACK_MAX_PROCESSES)
		processes[was].active = 0;
	if (follows)
		*slot = STACK_SLOT_PENDING;
	send_event(ALLOC_EVENT_EXEC, was, group, 0);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	u32 group = numbers_group((void *)bpf_get_current_task());
	u32 *slot = bpf_map_lookup_elem(&groups, &group), was;

	if (!slot || BPF_CORE_READ(task, signal, live.counter))
		return 0;
	was = *slot;
	/* nobody else would: the number may be another process's soon */
	bpf_map_delete_elem(&groups, &group);
	if (was != STACK_SLOT_PENDING)
		send_event(ALLOC_EVENT_EXIT, was, group, 0);
	return 0;
}
