/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * Work slots and the store of distinct stacks. Before this the includer has
 * `counters` with COUNT and COUNT_BY, includes bpf/unwind.bpf.h, and defines
 * struct work { u32 lock, pad; ...; struct walk walk; }.
 */

/* set by the loader before the load */
const volatile u32 max_stacks = 1, max_pcs = 1;

u32 used_stacks = 1; /* id 0 means "no stack" */
u32 used_pcs;

/* hash of a stack's pcs -> id */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u32);
} stack_ids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stack_record);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} pcs SEC(".maps");

static struct work works[STACK_WORK_SLOTS];

static __always_inline struct work *claim_work(void)
{
	u32 h = (u32)bpf_get_current_pid_tgid() * 0x9E3779B1u >> 16;

	for (u32 i = 0; i < STACK_WORK_TRIES; i++) {
		struct work *w = &works[(h + 17 * i) & (STACK_WORK_SLOTS - 1)];

		if (!__sync_val_compare_and_swap(&w->lock, 0, 1))
			return w;
	}
	COUNT(busy);
	return 0;
}

static __always_inline void give_back(struct work *w)
{
	__sync_lock_test_and_set(&w->lock, 0);
}

struct compare {
	struct walk *w;
	u32 first;
	u32 differs;
};

static long compare_step(u32 i, struct compare *c)
{
	u32 at = c->first + i;
	u64 *pc = bpf_map_lookup_elem(&pcs, &at);

	if (!pc || *pc != c->w->pcs[i & (UNWIND_MAX_FRAMES - 1)]) {
		c->differs = 1;
		return 1;
	}
	return 0;
}

static long store_step(u32 i, struct compare *c)
{
	u32 at = c->first + i;
	u64 *pc = bpf_map_lookup_elem(&pcs, &at);

	if (!pc)
		return 1;
	*pc = c->w->pcs[i & (UNWIND_MAX_FRAMES - 1)];
	return 0;
}

/* Id of the stack in @w, stored on first sight; 0 when there is no room. The
 * pcs are compared, so a collision of hashes cannot merge two stacks. */
static __always_inline u32 stack_id(struct walk *w)
{
	u64 key = w->hash;

	for (int i = 0; i < 4; i++, key++) {
		u32 *known = bpf_map_lookup_elem(&stack_ids, &key);
		struct compare c = { w, 0, 0 };
		struct stack_record *s;
		u32 id;

		if (!known) {
			id = __sync_fetch_and_add(&used_stacks, 1);
			c.first = __sync_fetch_and_add(&used_pcs, w->n);
			if (id >= max_stacks || c.first + w->n > max_pcs)
				break;
			s = bpf_map_lookup_elem(&stacks, &id);
			if (!s)
				break;
			helper_loop(w->n, store_step, &c, 0);
			s->first = c.first;
			s->n = w->n;
			s->stop = w->stop;
			s->slot = w->slot;
			if (!bpf_map_update_elem(&stack_ids, &key, &id, BPF_NOEXIST))
				return id;
			/* another thread was quicker: its id holds, ours is wasted */
			known = bpf_map_lookup_elem(&stack_ids, &key);
			if (!known)
				break;
		}
		id = *known;
		s = bpf_map_lookup_elem(&stacks, &id);
		if (!s)
			break;
		if (s->n == w->n && s->stop == w->stop && s->slot == w->slot) {
			c.first = s->first;
			helper_loop(w->n, compare_step, &c, 0);
			if (!c.differs)
				return id;
		}
		COUNT(stack_collisions);
	}
	COUNT(stack_full);
	return 0;
}

/* Walk from these registers and store: the id, or 0 when there is no room. */
static __always_inline u32 store_stack(struct walk *w, u32 slot, const struct stack_process *p,
                                       u64 pc, u64 sp, u64 bp, u8 exact)
{
	walk_stack(w, p, slot, pc, sp, bp, exact);
	COUNT(walks);
	COUNT_BY(frames, w->n);
	if (w->stop < 8)
		COUNT(stops[w->stop]);
	return stack_id(w);
}
