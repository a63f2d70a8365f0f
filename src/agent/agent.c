/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What runs inside a target. Other laws hold here than elsewhere: no libc, no
 * system call, no lock, no thread-local variable, no vector register, nothing
 * that would need a relocation. A signal handler may come in anywhere and
 * allocate, a thread may be killed or leave by longjmp anywhere: what is shared
 * is changed by single atomic operations, and the worst that is left is one
 * entry or record that nobody uses until the next attach.
 *
 * The stubs (alloc/agent_stub.c) decide the common case alone and come here
 * with the call's registers as they were at the function's entry:
 *
 *	agent_enter()	before the call; says whether agent_leave() is wanted
 *	agent_leave()	after it
 *
 * Why the countdown is right whatever functions call each other: it is an
 * exponential variable, which has no memory. A call that the allocator makes
 * inside may take from it; where that would have been a sample, a new countdown
 * is drawn and nothing is recorded. What is left is exponential again.
 *
 * Whose it is does not matter either: a thread's own, found by its pointer in a table; or,
 * where libc says at a known place which processor a thread is on, that processor's, which
 * takes five instructions less a call (agent_format.h, struct agent_cpu).
 *
 * Why it stays right when the rate changes: a block of s bytes is a sample with
 * 1 - exp(-s/mean) for the mean that the countdown was drawn with which is being
 * taken from, whatever the mean is now. That is known before the block comes; so
 * each sample carries the number of its rate, and a countdown that has begun is
 * never stretched. Where memwho does not want to wait for a long one it sets the
 * highest byte of the countdown (AGENT_RENEW): the next call comes here, is judged
 * by the other bytes, which still count, and then a new countdown is drawn.
 */

#include "agent/agent_exact.h"

typedef agent_u8 u8;
typedef agent_u32 u32;
typedef agent_u64 u64;

/* Placed by agent.lds behind the code, and in it. */
extern struct agent_data agent_data __attribute__((visibility("hidden")));
extern const struct agent_table agent_table __attribute__((visibility("hidden")));
extern const char agent_start[] __attribute__((visibility("hidden")));

#define D agent_data

enum {
	BACKLOG_LINES = 4 * AGENT_RATES_OF_TWO, /* 16 times the mean */
	OFF_BITS = 36,        /* countdown of who is not to come again soon: 64 GiB */
	EXPIRED_MEANS = 64,   /* of a reader that is late or gone */
	METER_MOST = 1 << 17, /* cycles of one visit: the thread may not have run meanwhile */
	METER_AROUND = 40,    /* of registers saved and loaded again */
};

/* Of the call's size: not taken from the countdown yet, or what came of it. */
enum charged { UNCHARGED, NO_SAMPLE, SAMPLE };

/* On the stack, made by agent_slow below: keep in that order. */
struct frame {
	u64 held;     /* a sampled block that realloc() has in its hands: its old ptr, or 0 */
	u64 held_seq; /* it is still in the set, as that; 0: it is @old */
	struct agent_entry old;
	u64 charged;      /* enum charged; a sample has its rate added */
	u64 result, seed; /* of the attach that the call belongs to */
	u64 result2;      /* rdx: a function may return 16 bytes (tcmalloc's size-returning new) */
	u64 arg[6];       /* rdi rsi rdx rcx r8 r9 */
	u64 word;         /* function, AGENT_CHARGED */
	u64 ret;          /* the return address, the caller's stack behind it */
};

__asm__(".text\n"
        ".globl agent_slow\n"
        "agent_slow:\n"
        "push %r11\n push %r9\n push %r8\n push %rcx\n push %rdx\n push %rsi\n push %rdi\n"
        "sub $96, %rsp\n"
        "mov %rsp, %rdi\n mov %rbp, %rsi\n"
        "call agent_enter\n" /* rax: the original; rdx: agent_leave is wanted */
        "mov %rax, %r11\n mov %rdx, %r10\n"
        "mov 96(%rsp), %rdi\n mov 104(%rsp), %rsi\n mov 112(%rsp), %rdx\n"
        "mov 120(%rsp), %rcx\n mov 128(%rsp), %r8\n mov 136(%rsp), %r9\n"
        "test %r10d, %r10d\n"
        "jnz 1f\n"
        "add $152, %rsp\n"
        "jmp *%r11\n"
        "1: call *%r11\n"
        ".globl agent_return\n"
        "agent_return:\n" /* the only address in here that the stack of a call holds */
        "mov %rax, 72(%rsp)\n mov %rdx, 88(%rsp)\n"
        "mov %rsp, %rdi\n mov %rbp, %rsi\n"
        "call agent_leave\n" /* rax: what is to be called in place of a return; 0: nothing */
        "test %rax, %rax\n"
        "jnz 2f\n"
        "mov 72(%rsp), %rax\n mov 88(%rsp), %rdx\n"
        "add $152, %rsp\n"
        "ret\n"
        "2: mov %rax, %r11\n"
        "mov 96(%rsp), %rdi\n mov 104(%rsp), %rsi\n mov 112(%rsp), %rdx\n"
        "mov 120(%rsp), %rcx\n mov 128(%rsp), %r8\n mov 136(%rsp), %r9\n"
        "add $152, %rsp\n"
        "jmp *%r11\n");

static inline u64 thread_pointer(void)
{
	u64 v;

	__asm__ volatile("mov %%fs:0, %0" : "=r"(v)); /* the x86-64 ABI: it points to itself */
	return v;
}

static inline u64 time_stamp(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

static inline u64 count(u64 *counter, u64 n)
{
	return __atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

static inline u32 hash(u64 key, unsigned bits)
{
	return ((u32)key * AGENT_HASH) >> (32 - bits);
}

/* ---- plans ---- */

struct operands {
	u64 ptr, size, old, context;
};

/* As plan_run(). Loads are from what the plan says belongs to the call. */
static void run_plan(const struct plan_code *code, u32 from, const u64 *arg, u64 ret,
                     struct operands *out)
{
	u64 acc = 0, tmp[4] = { 0, 0, 0, 0 };

	for (u32 i = from; i < code->n && i < PLAN_MAX_UOPS; i++) {
		const struct plan_uop *u = &code->uops[i];
		const long long imm = u->imm;

		/* no jump table: it would be a relocation or data of its own */
		if (u->op == PLAN_END)
			return;
		else if (u->op == PLAN_ARG)
			acc = arg[u->n & 3];
		else if (u->op == PLAN_RET)
			acc = ret;
		else if (u->op == PLAN_IMM)
			acc = imm;
		else if (u->op == PLAN_ADDI)
			acc += imm;
		else if (u->op == PLAN_ANDI)
			acc &= imm;
		else if (u->op == PLAN_SHRI)
			acc >>= imm & 63;
		else if (u->op == PLAN_SHLI)
			acc <<= imm & 63;
		else if (u->op == PLAN_LD8)
			acc = *(const u64 *)(acc + imm);
		else if (u->op == PLAN_LD4)
			acc = *(const u32 *)(acc + imm);
		else if (u->op == PLAN_ST)
			tmp[u->n & 3] = acc;
		else if (u->op == PLAN_LDT)
			acc = tmp[u->n & 3];
		else if (u->op == PLAN_ADD)
			acc += tmp[u->n & 3];
		else if (u->op == PLAN_SUB)
			acc -= tmp[u->n & 3];
		else if (u->op == PLAN_MUL)
			acc *= arg[u->n & 3];
		else if (u->op == PLAN_SHLV)
			acc <<= tmp[u->n & 3] & 63;
		else if (u->op == PLAN_SKZ)
			i += acc ? 0 : u->n;
		else if (u->op == PLAN_SKNZ)
			i += acc ? u->n : 0;
		else if (u->op == PLAN_PTR)
			out->ptr = acc;
		else if (u->op == PLAN_SIZE)
			out->size = acc;
		else if (u->op == PLAN_CTX)
			out->context = acc;
		else if (u->op == PLAN_OLD)
			out->old = acc;
	}
}

/* ---- countdown ---- */

static u64 random_of(struct agent_slot *s)
{
	u64 x = s->random; /* xorshift64* */

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	if (!x)
		x = 0x9e3779b97f4a7c15ull;
	s->random = x;
	return x * 0x2545f4914f6cdd1dull;
}

static u64 mean_of(u32 rate)
{
	return D.control.means[rate % AGENT_RATES];
}

/* Which rate to draw by: memwho's, or, under a budget, coarser where memwho is too slow to
 * see that more is spent than it has granted, or to read the stacks: they lie in the first
 * records that are free. Both are known before the next block comes, so the weights stay
 * right. */
static u32 rate_of_now(void)
{
	u32 rate = __atomic_load_n(&D.control.rate, __ATOMIC_RELAXED) % AGENT_RATES;
	const u64 spent = __atomic_load_n(&D.counters.cycles, __ATOMIC_RELAXED);
	const u64 grant = D.control.grant, step = D.control.grant_step;

	if (!step)
		return rate;
	if (D.record_states[AGENT_RECORDS / 2] != AGENT_RECORD_FREE && rate < AGENT_RATES / 2)
		rate += BACKLOG_LINES;
	if (spent <= grant)
		return rate;
	for (u64 over = spent - grant; rate < AGENT_RATES - AGENT_RATES_OF_TWO; over -= step) {
		rate += AGENT_RATES_OF_TWO;
		if (over <= step)
			break;
	}
	return rate;
}

/* The integer part of an exponential variable with the mean that is set, by
 * integers only: -ln u = ln 2 * -log2 u, 24 bits of it by repeated squaring. */
static void draw(struct agent_slot *s)
{
	const u32 rate = rate_of_now();
	const u64 u = random_of(s) | 1;
	const unsigned zeros = __builtin_clzll(u);
	u64 m = (u << zeros) >> 32, bits = 0, log2;

	for (int i = 0; i < 24; i++) {
		m = m * m >> 31;
		bits <<= 1;
		if (m >> 32) {
			bits |= 1;
			m >>= 1;
		}
	}
	log2 = ((u64)(zeros + 1) << 24) - bits;
	s->rate = rate;
	s->left = (unsigned __int128)log2 * mean_of(rate) * 11629080u >> 48; /* ln 2 * 2^24 */
}

/* Nothing is sampled for so many bytes, nor when they are over. */
static void pause(struct agent_slot *s, long long bytes)
{
	s->rate = AGENT_NO_RATE;
	s->left = bytes;
}

/* What was taken has brought the countdown below zero, or memwho wants a new one:
 * NO_SAMPLE, or SAMPLE with its rate. If it is not below zero any more, then a signal
 * handler has allocated since, and drawn the new one. */
static u64 settle(struct agent_slot *s)
{
	const long long left = s->left >= 0 ? -1
	                                    : (long long)((u64)s->left << (64 - AGENT_LEFT_BITS));
	const u32 rate = s->rate;

	draw(s);
	return left < 0 && rate != AGENT_NO_RATE ? SAMPLE + rate % AGENT_RATES : NO_SAMPLE;
}

/* The thread's slot of @slots, taken if it has none. A thread that finds no room is
 * counted by its callers. */
static struct agent_slot *find_slot(struct agent_slot *slots, u64 thread, u32 *is_new)
{
	const u32 at = hash(thread, AGENT_SLOT_BITS);

	*is_new = 0;
	for (u32 i = 0; i < AGENT_SLOT_TRIES; i++) {
		struct agent_slot *s = &slots[(at + i) & (AGENT_SLOTS - 1)];
		u64 none = 0;

		if (s->owner == thread)
			return s;
		if (s->owner || !__atomic_compare_exchange_n(&s->owner, &none, thread, 0,
		                                             __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		s->stack_tid = 0;
		*is_new = 1;
		return s;
	}
	return 0;
}

static void begin(struct agent_slot *s, u64 key)
{
	s->random = (D.control.seed ^ key * 0x9e3779b97f4a7c15ull) +
	            count(&D.counters.claims, 1) * 0xbf58476d1ce4e5b9ull;
	random_of(s);
	random_of(s);
	if (D.control.state == AGENT_ON)
		draw(s);
	else
		pause(s, 1ll << OFF_BITS);
}

static struct agent_slot *slot_of(u64 thread)
{
	u32 is_new;
	struct agent_slot *s = find_slot(D.slots, thread, &is_new);

	if (is_new)
		begin(s, thread);
	return s;
}

static struct agent_slot *cpu_slot(u64 thread, u32 *is_new)
{
	const u32 far = *(const volatile unsigned short *)(thread + agent_table.cpu_at);
	struct agent_slot *s = (struct agent_slot *)((char *)D.cpus + far);
	u64 none = 0;

	*is_new = !s->owner && __atomic_compare_exchange_n(&s->owner, &none, 1, 0, __ATOMIC_ACQ_REL,
	                                                   __ATOMIC_RELAXED);
	if (*is_new)
		begin(s, far);
	return s;
}

/* What this call is taken from. @is_new: nothing has been yet. */
static struct agent_slot *countdown(u32 *is_new)
{
	*is_new = 0;
	return agent_table.cpu_at ? cpu_slot(thread_pointer(), is_new) : slot_of(thread_pointer());
}

/* ---- the set of sampled blocks ---- */

static int take_room(u8 *filter)
{
	u8 n = __atomic_load_n(filter, __ATOMIC_RELAXED);

	do {
		if (n >= AGENT_FILTER_MAX)
			return 0;
	} while (!__atomic_compare_exchange_n(filter, &n, n + 1, 0, __ATOMIC_SEQ_CST,
	                                      __ATOMIC_RELAXED));
	return 1;
}

#include "agent/agent_contexts.h"

static int insert_entry(u64 ptr, const struct agent_entry *new)
{
	const u32 b = hash(ptr, AGENT_BUCKET_BITS);

	if (take_room(&D.filter[b])) {
		for (u32 i = 0; i < AGENT_BUCKET_ENTRIES; i++) {
			struct agent_entry *e = &D.entries[b][i];
			u64 none = 0;

			if (e->ptr ||
			    !__atomic_compare_exchange_n(&e->ptr, &none, AGENT_BUSY, 0,
			                                 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
				continue;
			e->size = new->size;
			e->seq = new->seq;
			e->asked = new->asked;
			e->context = new->context;
			e->sum = agent_entry_sum(ptr, new);
			__atomic_store_n(&e->ptr, ptr, __ATOMIC_RELEASE);
			return 1;
		}
		__atomic_fetch_sub(&D.filter[b], 1, __ATOMIC_SEQ_CST);
	}
	return 0;
}

static void insert(u64 ptr, const struct agent_entry *e)
{
	const int has_context = is_context(e->context);

	if (has_context && !context_add(e->context, ptr, e->seq)) {
		count(&D.counters.contexts_full, 1);
	} else {
		if (insert_entry(ptr, e))
			return;
		if (has_context)
			context_sub(e->context);
	}
	count(&D.counters.set_full, 1);
	count(&D.counters.set_full_bytes, e->size + mean_of(e->seq >> AGENT_SEQ_RATE));
}

/* @seq 0: whichever it is. */
static int take_out_entry(u64 ptr, u64 seq, struct agent_entry *ret)
{
	const u32 b = hash(ptr, AGENT_BUCKET_BITS);

	if (!ptr || !D.filter[b])
		return 0;
	for (u32 i = 0; i < AGENT_BUCKET_ENTRIES; i++) {
		struct agent_entry *e = &D.entries[b][i];
		u64 expected = ptr;

		if (e->ptr != ptr || (seq && e->seq != seq))
			continue;
		*ret = *e;
		if (!__atomic_compare_exchange_n(&e->ptr, &expected, 0, 0, __ATOMIC_ACQ_REL,
		                                 __ATOMIC_RELAXED))
			continue;
		__atomic_fetch_sub(&D.filter[b], 1, __ATOMIC_SEQ_CST);
		return 1;
	}
	return 0;
}

static int take_out(u64 ptr, u64 seq, struct agent_entry *ret)
{
	if (!take_out_entry(ptr, seq, ret))
		return 0;
	if (is_context(ret->context))
		context_sub(ret->context);
	return 1;
}

/* Its number; 0: it is not in the set. */
static u64 find_seq(u64 ptr)
{
	const u32 b = hash(ptr, AGENT_BUCKET_BITS);

	for (u32 i = 0; ptr && D.filter[b] && i < AGENT_BUCKET_ENTRIES; i++) {
		if (D.entries[b][i].ptr == ptr)
			return D.entries[b][i].seq;
	}
	return 0;
}

/* ---- stacks ---- */

static int knows_stack(const struct agent_slot *s, u64 thread)
{
	return s && s->owner == thread && s->stack_tid &&
	       s->stack_tid == *(const u32 *)(thread + AGENT_TID_AT);
}

/* Where glibc has noted that the thread's stack begins, behind its guard; 0: not known. Only
 * a glibc's thread has its own address in the third word as well. */
static u64 noted_stack(u64 thread)
{
	const u64 *words = (const u64 *)thread, *block = words + D.control.block_at / 8;

	if (!D.control.block_at || words[2] != thread)
		return 0;
	/* address, size, guard */
	return block[0] && block[2] < block[1] && thread - block[0] < block[1] ? block[0] + block[2]
	                                                                       : 0;
}

/* Where the stack that ends at the thread's pointer begins; 0: not known. */
static u64 stack_begin(const struct agent_slot *s, u64 thread)
{
	return knows_stack(s, thread) ? s->stack_low : noted_stack(thread);
}

/* Up to where the caller's stack may be read. Proven is only: the page that the
 * return address was just pushed to; the first thread's stack; and, for a thread
 * whose stack memwho has seen between a guard page and its thread pointer, or
 * glibc has noted, all between here and there. */
static u64 readable_end(const struct agent_slot *s, u64 thread, u64 sp, u64 *whole)
{
	const u64 begin = stack_begin(s, thread);

	*whole = 1;
	if (sp >= D.control.main_low && sp < D.control.main_high)
		return D.control.main_high;
	if (begin && sp >= begin && sp < thread)
		return thread;
	*whole = 0;
	return ((sp - 8) | 4095) + 1;
}

/* The first that is free: as much of the target's memory is used as there is backlog. */
static struct agent_record *take_record(u32 *ret)
{
	for (u32 i = 0; i < AGENT_RECORDS; i++) {
		u32 none = AGENT_RECORD_FREE;

		if (D.record_states[i] != AGENT_RECORD_FREE ||
		    !__atomic_compare_exchange_n(&D.record_states[i], &none, AGENT_RECORD_BUSY, 0,
		                                 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		*ret = i;
		return &D.records[i];
	}
	return 0;
}

static void keep_stack(const struct frame *f, u64 bp, const struct agent_entry *e)
{
	const u64 thread = thread_pointer(), sp = (u64)(&f->ret + 1);
	u64 whole, end = readable_end(slot_of(thread), thread, sp, &whole), n = (end - sp) / 8;
	const u64 *from = (const u64 *)sp;
	struct agent_record *r;
	u64 *to;
	u32 at;

	r = take_record(&at);
	if (!r) {
		count(&D.counters.stacks_lost, 1);
		return;
	}
	if (n > AGENT_STACK_BYTES / 8)
		n = AGENT_STACK_BYTES / 8;
	r->seq = e->seq;
	r->size = e->size;
	r->asked = e->asked;
	r->pc = f->ret;
	r->sp = sp;
	r->bp = bp;
	r->thread = thread;
	r->n_bytes = n * 8;
	r->whole = whole;
	to = (u64 *)r->stack;
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n)::"memory");
	__atomic_store_n(&D.record_states[at], AGENT_RECORD_READY, __ATOMIC_RELEASE);
}

/* ---- exact mode ---- */

/* NULL: it samples. In exact mode the functions lead to other entries of the stubs: nothing is
 * counted down there, nothing looked up, every call comes here. */
static struct agent_exact *exact_mode(void)
{
	return (struct agent_exact *)D.control.exact;
}

/* Its slots say how far stacks reach. */
static struct agent_slot *exact_slot(struct agent_exact *x, u64 thread, u32 *number)
{
	struct agent_exact_counters *c = (void *)((char *)x + x->counters);
	struct agent_slot *slots = (void *)((char *)x + x->slots);
	u32 is_new;
	struct agent_slot *s = find_slot(slots, thread, &is_new);

	if (is_new)
		__atomic_fetch_add(&c->claims, 1, __ATOMIC_RELAXED);
	*number = s ? s - slots : AGENT_SLOTS;
	return s;
}

static void exact_record(struct agent_exact *x, const struct frame *f, u64 bp,
                         const struct operands *o)
{
	const u64 thread = thread_pointer(), now = time_stamp();
	struct agent_exact_call c;
	struct agent_slot *s;
	u64 whole;

	if (now > D.control.deadline) {
		/* nobody reads on: at least it shall cost no more */
		if (agent_exact_late(x, o->size, now - D.control.deadline))
			D.control.exact_on = 0;
		return;
	}
	s = exact_slot(x, thread, &c.slot);
	c.ptr = o->ptr;
	c.size = o->size;
	c.context = o->context;
	c.ret = f->ret;
	c.sp = (u64)(&f->ret + 1);
	c.bp = bp;
	c.now = now;
	c.here.start = c.sp;
	c.here.end = readable_end(s, thread, c.sp, &whole);
	c.whole = whole;
	c.others[0].start = D.control.main_low;
	c.others[0].end = D.control.main_high;
	c.others[1].start = stack_begin(s, thread);
	c.others[1].end = c.others[1].start ? thread : 0;
	agent_exact_record(x, &c);
}

/* Is it a block that we know? It is no more; what was known is @size and @seq. */
static int take_block(u64 ptr, struct agent_entry *ret)
{
	struct agent_exact *x = exact_mode();
	struct agent_exact_block k;
	u32 slot;

	if (!x)
		return take_out(ptr, 0, ret);
	exact_slot(x, thread_pointer(), &slot);
	if (!agent_exact_take(x, slot, ptr, &k))
		return 0;
	ret->size = k.value.size;
	ret->seq = k.value.stack | (u64)k.value.birth << 32;
	ret->context = k.ref;
	return 1;
}

static void put_block_back(u64 ptr, const struct agent_entry *e)
{
	struct agent_exact *x = exact_mode();
	const struct agent_exact_block k = { { e->size, e->seq, e->seq >> 32 }, e->context };
	u32 slot;

	if (!x) {
		insert(ptr, e);
		return;
	}
	exact_slot(x, thread_pointer(), &slot);
	agent_exact_put_back(x, slot, ptr, &k);
}

static u64 block_seq(u64 ptr)
{
	return exact_mode() ? (u64)agent_exact_has(exact_mode(), ptr) : find_seq(ptr);
}

static int take_block_of(u64 ptr, u64 seq, struct agent_entry *ret)
{
	return exact_mode() ? take_block(ptr, ret) : take_out(ptr, seq, ret);
}

static void reset_context(u64 context)
{
	struct agent_exact *x = exact_mode();
	u32 slot;

	if (!x) {
		context_reset(context);
		return;
	}
	exact_slot(x, thread_pointer(), &slot);
	agent_exact_reset(x, slot, context);
}

/* ---- calls ---- */

/* From the allocator itself, or from a call that we watch already. */
static int is_internal(u64 ret)
{
	u32 low = 0, high = agent_table.n_ranges;

	if (ret - (u64)agent_start < AGENT_CODE_BYTES)
		return 1;
	while (low < high) {
		u32 middle = (low + high) / 2;

		if (agent_table.ranges[middle].end <= ret)
			low = middle + 1;
		else
			high = middle;
	}
	return low < agent_table.n_ranges && ret >= agent_table.ranges[low].start;
}

/* Nothing is sampled now: the thread need not come here again soon. */
static void rest(struct agent_slot *s)
{
	if (!s)
		return;
	if (D.control.state != AGENT_ON) {
		pause(s, 1ll << OFF_BITS);
	} else {
		pause(s, EXPIRED_MEANS * (long long)mean_of(D.control.rate));
		count(&D.counters.expired, 1);
	}
}

struct verdict {
	u64 original, watched;
};

/* The old block of a realloc() is out of the set before another thread can be given its
 * address; where it may end by longjmp() and that does not happen, only afterwards. */
static void hold_old(struct frame *f, const struct agent_function *fn, u64 old)
{
	if (fn->code.flags & PLAN_JUMPS)
		f->held_seq = block_seq(old);
	if (f->held_seq || take_block(old, &f->old))
		f->held = old;
}

static void settle_old(struct frame *f, const struct operands *o)
{
	const int failed = !o->ptr && o->size;

	if (!f->held)
		return;
	if (failed && !f->held_seq) /* it lives on */
		put_block_back(f->held, &f->old);
	else if (!failed && f->held_seq) /* unless the function has freed it, seen by us */
		take_block_of(f->held, f->held_seq, &f->old);
	if (!failed && !exact_mode())
		count(&D.counters.freed, 1);
}

/* Is agent_leave() wanted? */
static int before_alloc(struct frame *f, const struct agent_function *fn)
{
	const int is_realloc = fn->code.role == PLAN_REALLOC;
	struct operands o = { 0, 0, 0, 0 };
	struct agent_slot *s = 0;
	u32 is_new = 0;
	int late;

	f->held = f->held_seq = 0;
	f->seed = D.control.seed;
	f->charged = UNCHARGED;
	if (D.control.state != AGENT_ON) {
		rest(countdown(&is_new));
		return 0;
	}
	if (f->word & AGENT_CHARGED)
		s = countdown(&is_new);
	if (is_internal(f->ret)) {
		count(&D.counters.internal_calls, 1);
		if (s)
			draw(s);
		return 0;
	}
	late = !exact_mode() && time_stamp() > D.control.deadline;
	if (late) {
		rest(s);
		if (!is_realloc)
			return 0;
	} else if (s && !is_new) {
		f->charged = settle(s);
	}
	if (!is_realloc)
		return f->charged != NO_SAMPLE;
	run_plan(&fn->code, 0, f->arg, 0, &o);
	hold_old(f, fn, o.old);
	return 1;
}

static struct verdict enter(struct frame *f)
{
	const struct agent_function *fn = &agent_table.functions[f->word & AGENT_FUNCTION_MASK];
	struct verdict v = { fn->original, 0 };
	struct operands o = { 0, 0, 0, 0 };
	struct agent_entry e;

	if (fn->code.role == PLAN_FREE || fn->code.role == PLAN_RESET) {
		run_plan(&fn->code, 0, f->arg, 0, &o);
		if (fn->code.role == PLAN_RESET)
			reset_context(o.context);
		else if (take_block(o.ptr, &e) && !exact_mode())
			count(&D.counters.freed, 1);
		return v;
	}
	if (D.control.state == AGENT_ON && !exact_mode())
		count(&D.counters.slow_calls, 1);
	v.watched = before_alloc(f, fn);
	if (v.watched && fn->quiet)
		v.original = fn->quiet;
	return v;
}

/* ---- what it costs ---- */

/* How many visits the one that begins at @now stands for. */
static u64 meter_weight(u64 now, int always)
{
	if (always)
		return 1;
	return ((u32)now * AGENT_HASH) >> 29 ? 0 : AGENT_METER_ONE_IN;
}

static void meter(u64 since, u64 weight)
{
	u64 n;

	if (!weight || D.control.state != AGENT_ON)
		return;
	n = time_stamp() - since + METER_AROUND;
	count(&D.counters.cycles, (n < METER_MOST ? n : METER_MOST) * weight);
}

__attribute__((used)) struct verdict agent_enter(struct frame *f, u64 bp)
{
	const u64 since = exact_mode() ? 0 : time_stamp();
	const struct verdict v = enter(f);

	(void)bp;
	if (since)
		meter(since, meter_weight(since, (f->word & AGENT_CHARGED) != 0));
	return v;
}

/* NO_SAMPLE, or SAMPLE with its rate. What was not charged yet is charged now. */
static u64 charge(const struct frame *f, struct agent_slot *s, u64 size)
{
	if (f->charged != UNCHARGED)
		return f->charged;
	if (size >> 46)
		return NO_SAMPLE;
	if (!s) {
		count(&D.counters.no_slot, 1);
		count(&D.counters.no_slot_bytes, size);
		return NO_SAMPLE;
	}
	if (time_stamp() > D.control.deadline)
		return NO_SAMPLE;
	s->left -= (long long)size;
	return s->left < 0 ? settle(s) : NO_SAMPLE;
}

static void after_alloc(struct frame *f, const struct agent_function *fn, u64 bp)
{
	const u32 asked = fn->code.asked;
	struct operands o = { 0, 0, 0, 0 };
	struct agent_slot *s;
	struct agent_entry e;
	u64 sample;
	u32 is_new;

	run_plan(&fn->code, fn->code.second, f->arg, f->result, &o);
	settle_old(f, &o);
	if (exact_mode()) {
		if (o.ptr && o.size <= AGENT_EXACT_MAX_SIZE)
			exact_record(exact_mode(), f, bp, &o);
		return;
	}
	s = countdown(&is_new);
	e.size = o.size;
	e.asked = asked ? f->arg[asked - 1] + AGENT_ASKED_MORE : o.size;
	e.context = o.context;
	sample = o.ptr ? charge(f, s, e.asked) : NO_SAMPLE;
	if (sample == NO_SAMPLE)
		return;
	e.seq = count(&D.counters.samples, 1) | (sample - SAMPLE) << AGENT_SEQ_RATE;
	/* first the stack: who finds the block finds its stack */
	keep_stack(f, bp, &e);
	insert(o.ptr, &e);
}

/* What is to be done in place of a return, or 0. */
__attribute__((used)) u64 agent_leave(struct frame *f, u64 bp)
{
	const struct agent_function *fn = &agent_table.functions[f->word & AGENT_FUNCTION_MASK];
	/* one that began before the last detach: nothing of that time is there any more */
	const int is_ours = D.control.state == AGENT_ON && f->seed == D.control.seed;
	const u64 since = is_ours && !exact_mode() ? time_stamp() : 0;

	if (is_ours)
		after_alloc(f, fn, bp);
	if (since)
		meter(since, meter_weight(since, f->charged >= SAMPLE));
	/* Out of memory. The function itself asks the new_handler, or throws. */
	if (!fn->quiet || f->result)
		return 0;
	if (is_ours && (f->charged || exact_mode()))
		count(&D.counters.passed_on, 1);
	return fn->original;
}
