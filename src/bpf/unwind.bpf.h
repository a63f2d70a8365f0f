/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * The unwinder in BPF: reads the tables of unwind/ and the target's stack.
 * All state is in a claimed work slot, never on the BPF stack: with state on
 * the stack the verifier follows every value of it and passes its limit of a
 * million instructions (the same code: 50,000).
 */

/* Sorted rows of all modules, and their indices; sized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct unwind_row);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} row_index SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stack_span);
} spans SEC(".maps");

enum { WALK_WINDOW_WORDS = 64, WALK_PAGE = 4096 };

struct walk {
	u64 pc, sp, bp;
	u64 hash;
	u64 instance; /* next struct return_instance to look at; 0: none */
	u32 first_span, n_spans;
	u32 last_span; /* where the last search ended: the next frame is often in the same */
	u32 n, slot;
	u8 stop;
	u8 exact; /* pc is not a return address */
	u8 instances_read;
	u8 doubtful; /* libraries have changed since the spans were made */
	u32 modules_changed, pad;
	u64 window_at; /* address of the stack's words that have been read at once */
	u64 window_words;
	u64 window[WALK_WINDOW_WORDS];
	u64 pcs[UNWIND_MAX_FRAMES];
};

/*
 * A word of the target's stack. A read costs the kernel some 60 ns whatever its
 * length, so what follows the word is read with it, up to the end of its page:
 * nothing is touched that the word alone would not touch.
 */
static __always_inline int read_stack(struct walk *w, u64 address, u64 *ret)
{
	u64 i = (address - w->window_at) >> 3;

	if (address & 7)
		return bpf_probe_read_user(ret, 8, (void *)address) != 0;
	if (i >= w->window_words) {
		u32 bytes = WALK_PAGE - (address & (WALK_PAGE - 1));

		if (bytes > sizeof(w->window))
			bytes = sizeof(w->window);
		w->window_words = 0;
		if (bpf_probe_read_user(w->window, bytes, (void *)address))
			return 1;
		w->window_at = address;
		w->window_words = bytes / 8;
		i = 0;
	}
	*ret = w->window[i & (WALK_WINDOW_WORDS - 1)];
	return 0;
}

/* The mapping that holds @pc, or NULL. */
static __always_inline struct stack_span *find_span(struct walk *w, u64 pc)
{
	u32 lo = 0, hi = w->n_spans, key = w->last_span;
	struct stack_span *span = bpf_map_lookup_elem(&spans, &key);

	if (span && key - w->first_span < w->n_spans && span->start <= pc && pc < span->end)
		return span;
	/* 2^12 mappings at most (the loader refuses more) */
	for (int i = 0; i < 13 && lo < hi; i++) {
		key = w->first_span + (lo + hi) / 2;
		span = bpf_map_lookup_elem(&spans, &key);
		if (!span)
			return 0;
		if (span->start <= pc)
			lo = (lo + hi) / 2 + 1;
		else
			hi = (lo + hi) / 2;
	}
	if (!lo)
		return 0;
	key = w->first_span + lo - 1;
	span = bpf_map_lookup_elem(&spans, &key);
	w->last_span = key;
	return span && pc < span->end ? span : 0;
}

/* The row that holds at text-relative @pc of @span, or NULL. */
static __always_inline struct unwind_row *find_row(const struct stack_span *span, u32 pc)
{
	u32 slot = span->first_index + (pc >> UNWIND_INDEX_SHIFT), lo, hi, key;
	struct unwind_row *row;
	u64 *at;

	if (!span->n_rows || (pc >> UNWIND_INDEX_SHIFT) >= span->n_index)
		return 0;
	at = bpf_map_lookup_elem(&row_index, &slot);
	if (!at)
		return 0;
	/* low half: last row at or before this slot; high half: rows in the slot */
	lo = (u32)*at;
	hi = lo + (u32)(*at >> 32) + 1;
	for (int i = 0; i < 10 && lo < hi; i++) {
		key = span->first_row + (lo + hi) / 2;
		row = bpf_map_lookup_elem(&rows, &key);
		if (!row)
			return 0;
		if (row->pc <= pc)
			lo = (lo + hi) / 2 + 1;
		else
			hi = (lo + hi) / 2;
	}
	if (!lo)
		return 0;
	key = span->first_row + lo - 1;
	row = bpf_map_lookup_elem(&rows, &key);
	return row && row->pc <= pc ? row : 0;
}

/* Where the kernel's return trampoline is in this process; 0: none yet. */
static __always_inline u64 trampoline_of(u32 slot)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (slot >= STACK_MAX_PROCESSES)
		return 0;
	if (!processes[slot].trampoline)
		processes[slot].trampoline = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
	return processes[slot].trampoline;
}

/*
 * A return probe has put the address of the kernel's trampoline in place of a
 * return address; the kernel keeps the originals in a list, innermost first.
 * Returns the one that stood at @slot, or 0. *@instance is where to go on, for
 * a walk from the inside out.
 */
static __always_inline u64 original_return(u64 *instance, u64 slot)
{
	for (int i = 0; i < 16; i++) {
		struct return_instance *ri = (void *)*instance;
		u64 stack, address;
		_Bool chained;

		if (!ri)
			return 0;
		stack = BPF_CORE_READ(ri, stack);
		address = BPF_CORE_READ(ri, orig_ret_vaddr);
		chained = BPF_CORE_READ(ri, chained);
		*instance = (u64)BPF_CORE_READ(ri, next);
		if (stack == slot && !chained)
			return address;
	}
	return 0;
}

static __always_inline u64 first_instance(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return (u64)BPF_CORE_READ(task, utask, return_instances);
}

/* The address behind a trampoline in mid-stack; 0 when @pc is none. */
static __always_inline u64 behind_trampoline(struct walk *w, u64 pc, u64 slot)
{
	if (pc != trampoline_of(w->slot))
		return 0;
	if (!w->instances_read) {
		w->instances_read = 1;
		w->instance = first_instance();
	}
	return original_return(&w->instance, slot);
}

static __always_inline long stop_walk(struct walk *w, u8 why)
{
	w->stop = why;
	return 1;
}

/* The frame under a signal handler: registers from the ucontext on the stack
 * (x86-64: arch/x86/include/uapi/asm/sigcontext.h; gregs begin at +40). */
static __always_inline long step_signal(struct walk *w)
{
	u64 regs[7]; /* rbp rbx rdx rax rcx rsp rip */

	if (bpf_probe_read_user(regs, sizeof(regs), (void *)(w->sp + 40 + 10 * 8)))
		return stop_walk(w, UNWIND_STOP_BAD_STACK);
	w->bp = regs[0];
	w->sp = regs[5];
	w->pc = regs[6];
	w->exact = 1;
	return w->pc ? 0 : stop_walk(w, UNWIND_STOP_END);
}

/* Registers of the caller, given the frame's CFA. */
static __always_inline long step_caller(struct walk *w, u64 cfa, u32 rbp_slot)
{
	u64 pc, bp = w->bp, back;

	/* rbp first: it is below */
	if ((rbp_slot && read_stack(w, cfa - 8 * (u64)rbp_slot, &bp)) ||
	    read_stack(w, cfa - 8, &pc))
		return stop_walk(w, UNWIND_STOP_BAD_STACK);
	w->bp = bp;
	w->pc = pc;
	w->sp = cfa;
	w->exact = 0;
	if (!w->pc)
		return stop_walk(w, UNWIND_STOP_END);
	back = find_span(w, w->pc) ? 0 : behind_trampoline(w, w->pc, cfa - 8);
	if (back) {
		__sync_fetch_and_add(&counters.trampolines, 1);
		w->pc = back;
	}
	return 0;
}

static __always_inline int is_still_there(const struct stack_span *span)
{
	u64 now = 0;

	if (!span->check_at)
		return 1;
	return !bpf_probe_read_user(&now, 8, (void *)span->check_at) && now == span->check_value;
}

/* What a recorded pc says besides its address (stack_format.h). */
static __always_inline u64 origin_of(const struct walk *w, const struct stack_span *span)
{
	u64 origin = w->exact ? STACK_PC_EXACT : 0;

	if (!span)
		return origin | STACK_PC_UNSEEN |
		       (w->modules_changed & STACK_PC_MASK) << STACK_PC_SHIFT;
	if (span->snapshot <= STACK_PC_MASK)
		origin |= (u64)span->snapshot << STACK_PC_SHIFT;
	return origin;
}

static long walk_step(u32 i, struct walk **ctx)
{
	struct walk *w = *ctx;
	struct stack_span *span = find_span(w, w->pc);
	u64 recorded = w->pc;
	struct unwind_row *row;
	u32 n = w->n;
	u64 cfa;

	if (n >= UNWIND_MAX_FRAMES)
		return stop_walk(w, UNWIND_STOP_DEEP);
	if (span && w->doubtful && !is_still_there(span))
		span = 0;
	recorded |= origin_of(w, span);
	w->pcs[n] = recorded;
	w->n = n + 1;
	w->hash = (w->hash ^ recorded) * 0x9E3779B97F4A7C15ull;
	w->hash ^= w->hash >> 29;

	if (!span)
		return stop_walk(w, UNWIND_STOP_NO_MODULE);
	row = find_row(span, (u32)(w->pc - !w->exact - span->bias - span->text_base));
	if (!row)
		return stop_walk(w, UNWIND_STOP_NO_TABLE);
	switch (row->type) {
	case UNWIND_RSP: cfa = w->sp + (s64)row->cfa_offset; break;
	case UNWIND_RBP: cfa = w->bp + (s64)row->cfa_offset; break;
	case UNWIND_PLT: cfa = w->sp + 8 + ((w->pc & 15) >= 11 ? 8 : 0); break;
	case UNWIND_SIGNAL: return step_signal(w);
	case UNWIND_END: return stop_walk(w, UNWIND_STOP_END);
	case UNWIND_RSP_FAR: cfa = w->sp + 8 * (s64)row->cfa_offset; break;
	case UNWIND_RBP_DEREF:
		/* gcc's realigned frames: rbp points at the saved rbp */
		if (bpf_probe_read_user(&cfa, 8, (void *)(w->bp + (s64)row->cfa_offset)) ||
		    bpf_probe_read_user(&w->bp, 8, (void *)w->bp))
			return stop_walk(w, UNWIND_STOP_BAD_STACK);
		break;
	default: return stop_walk(w, UNWIND_STOP_NO_TABLE);
	}
	return step_caller(w, cfa, row->rbp_slot);
}

/* Walk from the given registers (@exact: @pc is no return address); w->pcs, w->n, w->hash and
 * w->stop are the result. */
static __always_inline void walk_stack(struct walk *w, const struct stack_process *p, u32 slot,
                                       u64 pc, u64 sp, u64 bp, u8 exact)
{
	struct walk *ctx = w;
	u64 spans_of;

	w->pc = pc;
	w->sp = sp;
	w->bp = bp;
	w->slot = slot;
	w->hash = slot + 1; /* equal pcs of two processes are two stacks */
	w->n = 0;
	w->stop = UNWIND_STOP_DEEP;
	w->exact = exact;
	w->instances_read = 0;
	w->instance = 0;
	w->modules_changed = p->modules_changed;
	w->doubtful = w->modules_changed != p->modules_seen;
	/* one load: the loader may publish another list at any time */
	spans_of = *(const volatile u64 *)&p->first_span;
	w->first_span = (u32)spans_of;
	w->n_spans = spans_of >> 32;
	w->last_span = w->first_span;
	w->window_words = 0;
	helper_loop(UNWIND_MAX_FRAMES + 1, walk_step, &ctx, 0);
}
