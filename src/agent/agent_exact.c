/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs inside a target; see agent.c for the laws that hold here. */

#include "agent/agent_exact.h"

typedef agent_u8 u8;
typedef agent_u32 u32;
typedef agent_u64 u64;

static inline void *at(struct agent_exact *x, u64 offset)
{
	return (char *)x + offset;
}

static struct agent_exact_counters *counters_of(struct agent_exact *x)
{
	return at(x, x->counters);
}

static void count(u64 *counter, u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* Of one thread: whole where a signal handler comes in, and no more. */
static inline void add(u64 *counter, u64 n)
{
	__asm__("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
}

static void add_both(struct agent_exact *x, u32 slot, u32 freed, u64 objects, u64 bytes)
{
	struct agent_exact_thread *t = (struct agent_exact_thread *)at(x, x->threads) + slot;

	if (slot >= AGENT_SLOTS) {
		t = &counters_of(x)->others;
		count(freed ? &t->freed_objects : &t->objects, objects);
		count(freed ? &t->freed_bytes : &t->bytes, bytes);
		return;
	}
	add(freed ? &t->freed_objects : &t->objects, objects);
	add(freed ? &t->freed_bytes : &t->bytes, bytes);
}

#include "agent/agent_exact_contexts.h"

/* ---- the set ---- */

static inline u64 hash_of(u64 ptr)
{
	return (ptr >> 4) * 0x9e3779b97f4a7c15ull;
}

/* The bucket of level @l where a block belongs; its partner is the next to it. */
static struct agent_exact_bucket *home_of(struct agent_exact *x, u32 l, u64 hash, u64 *partner)
{
	const u32 bits = AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS * l;
	struct agent_exact_bucket *level = at(x, x->levels[l]);
	const u64 i = hash >> (64 - bits);

	*partner = (u64)(level + (i ^ 1));
	return level + i;
}

static u32 n_levels(const struct agent_exact *x)
{
	return x->n_levels < AGENT_EXACT_LEVELS ? x->n_levels : AGENT_EXACT_LEVELS;
}

/* It was found behind @n homes. */
static void forget(struct agent_exact *x, u64 hash, u32 n)
{
	u64 partner;

	for (u32 l = 0; l < n; l++)
		__atomic_fetch_sub(&home_of(x, l, hash, &partner)->elsewhere, 1, __ATOMIC_SEQ_CST);
}

static u64 *ref_of(struct agent_exact *x, u32 l, const struct agent_exact_bucket *b, u32 i)
{
	const struct agent_exact_bucket *level = at(x, x->levels[l]);
	struct agent_exact_refs *refs = at(x, x->refs[l]);

	return &refs[b - level].refs[i];
}

/* Most allocators have none: what is only for them is out of the way. */
#define HAS_CONTEXTS(x) __builtin_expect((x)->contexts != 0, 0)
#define COLD            __attribute__((noinline, cold))

/* Entry @i of @b is of a context that was reset since. */
static inline int is_stale(struct agent_exact *x, u32 l, const struct agent_exact_bucket *b, u32 i)
{
	return HAS_CONTEXTS(x) && !context_lives(x, *ref_of(x, l, b, i));
}

/* Entry @i of @b, which is stale, for who calls, as AGENT_BUSY. */
static COLD int claim_stale(struct agent_exact *x, u32 l, struct agent_exact_bucket *b, u32 i)
{
	u64 old = b->ptrs[i], partner;
	const u64 hash = hash_of(old);
	const u32 homes = l + (home_of(x, l, hash, &partner) != b); /* as it lies behind them */

	if (old <= AGENT_BUSY || !is_stale(x, l, b, i) ||
	    !__atomic_compare_exchange_n(&b->ptrs[i], &old, AGENT_BUSY, 0, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_RELAXED))
		return 0;
	if (!is_stale(x, l, b, i)) { /* it was put in anew meanwhile, at the same place */
		__atomic_store_n(&b->ptrs[i], old, __ATOMIC_RELEASE);
		return 0;
	}
	forget(x, hash, homes);
	return 1;
}

static inline int claim_free(struct agent_exact_bucket *b, u32 i)
{
	u64 none = 0;

	return !b->ptrs[i] && __atomic_compare_exchange_n(&b->ptrs[i], &none, AGENT_BUSY, 0,
	                                                  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline void fill(struct agent_exact *x, u32 l, struct agent_exact_bucket *b, u32 i, u64 ptr,
                        const struct agent_exact_block *k)
{
	b->values[i].size = k->value.size;
	b->values[i].stack = k->value.stack;
	b->values[i].birth = k->value.birth;
	if (HAS_CONTEXTS(x))
		*ref_of(x, l, b, i) = k->ref;
	__atomic_store_n(&b->ptrs[i], ptr, __ATOMIC_RELEASE);
}

/* In the place of one that is gone. */
static COLD int put_over(struct agent_exact *x, u32 l, struct agent_exact_bucket *b, u64 ptr,
                         const struct agent_exact_block *k)
{
	for (u32 i = 0; i < AGENT_EXACT_BUCKET_ENTRIES; i++) {
		if (!claim_stale(x, l, b, i))
			continue;
		fill(x, l, b, i, ptr, k);
		return 1;
	}
	return 0;
}

static inline int put_in(struct agent_exact *x, u32 l, struct agent_exact_bucket *b, u64 ptr,
                         const struct agent_exact_block *k)
{
	for (u32 i = 0; i < AGENT_EXACT_BUCKET_ENTRIES; i++) {
		if (!claim_free(b, i))
			continue;
		fill(x, l, b, i, ptr, k);
		return 1;
	}
	return HAS_CONTEXTS(x) && put_over(x, l, b, ptr, k);
}

static void set_top(struct agent_exact_counters *c, u32 l)
{
	u32 top = __atomic_load_n(&c->top, __ATOMIC_RELAXED);

	while (top < l && !__atomic_compare_exchange_n(&c->top, &top, l, 0, __ATOMIC_RELAXED,
	                                               __ATOMIC_RELAXED))
		;
}

/* A block that does not lie where it belongs is first counted there: on its way, whoever
 * looks for it goes on. */
static int put(struct agent_exact *x, u64 ptr, const struct agent_exact_block *k)
{
	const u64 hash = hash_of(ptr);
	const u32 n = n_levels(x);
	u64 partner;

	for (u32 l = 0; l < n; l++) {
		struct agent_exact_bucket *home = home_of(x, l, hash, &partner);

		if (l && counters_of(x)->top < l)
			set_top(counters_of(x), l);
		if (put_in(x, l, home, ptr, k))
			return 1;
		__atomic_fetch_add(&home->elsewhere, 1, __ATOMIC_SEQ_CST);
		if (put_in(x, l, (struct agent_exact_bucket *)partner, ptr, k))
			return 1;
	}
	for (u32 l = 0; l < n; l++)
		__atomic_fetch_sub(&home_of(x, l, hash, &partner)->elsewhere, 1, __ATOMIC_SEQ_CST);
	return 0;
}

/* The entry with a block that lives; of one that went with its context none is left. */
static inline u32 find_in(struct agent_exact *x, u32 l, struct agent_exact_bucket *b, u64 ptr)
{
	for (u32 i = 0; i < AGENT_EXACT_BUCKET_ENTRIES; i++) {
		if (b->ptrs[i] != ptr)
			continue;
		if (!is_stale(x, l, b, i))
			return i;
		if (claim_stale(x, l, b, i))
			__atomic_store_n(&b->ptrs[i], 0, __ATOMIC_RELEASE);
	}
	return AGENT_EXACT_BUCKET_ENTRIES;
}

static int take_from(struct agent_exact *x, u32 l, struct agent_exact_bucket *b, u64 ptr,
                     struct agent_exact_block *ret)
{
	const u32 i = find_in(x, l, b, ptr);
	u64 expected = ptr;

	if (i >= AGENT_EXACT_BUCKET_ENTRIES)
		return 0;
	ret->value.size = b->values[i].size;
	ret->value.stack = b->values[i].stack;
	ret->value.birth = b->values[i].birth;
	ret->ref = HAS_CONTEXTS(x) ? *ref_of(x, l, b, i) : 0;
	return __atomic_compare_exchange_n(&b->ptrs[i], &expected, 0, 0, __ATOMIC_ACQ_REL,
	                                   __ATOMIC_RELAXED);
}

static int take(struct agent_exact *x, u64 ptr, struct agent_exact_block *ret)
{
	const u64 hash = hash_of(ptr);
	const u32 n = n_levels(x);
	u64 partner;

	for (u32 l = 0; l < n; l++) {
		struct agent_exact_bucket *home = home_of(x, l, hash, &partner);
		u32 behind = 0;

		if (take_from(x, l, home, ptr, ret))
			behind = l + 1;
		else if (!__atomic_load_n(&home->elsewhere, __ATOMIC_RELAXED))
			return 0;
		else if (take_from(x, l, (struct agent_exact_bucket *)partner, ptr, ret))
			behind = l + 2;
		if (!behind)
			continue;
		if (behind > 1)
			forget(x, hash, behind - 1);
		return 1;
	}
	return 0;
}

int agent_exact_has(struct agent_exact *x, u64 ptr)
{
	const u64 hash = hash_of(ptr);
	const u32 n = n_levels(x);
	u64 partner;

	for (u32 l = 0; ptr && l < n; l++) {
		struct agent_exact_bucket *home = home_of(x, l, hash, &partner);

		if (find_in(x, l, home, ptr) < AGENT_EXACT_BUCKET_ENTRIES)
			return 1;
		if (!__atomic_load_n(&home->elsewhere, __ATOMIC_RELAXED))
			return 0;
		if (find_in(x, l, (struct agent_exact_bucket *)partner, ptr) <
		    AGENT_EXACT_BUCKET_ENTRIES)
			return 1;
	}
	return 0;
}

int agent_exact_take(struct agent_exact *x, u32 slot, u64 ptr, struct agent_exact_block *ret)
{
	u64 size;

	if (!ptr || !take(x, ptr, ret))
		return 0;
	size = ret->value.size & AGENT_EXACT_MAX_SIZE;
	add_both(x, slot, 1, 1, size);
	if (HAS_CONTEXTS(x))
		context_sub(x, ret->ref, size);
	return 1;
}

/* @k is counted in its context already. */
static void keep(struct agent_exact *x, u32 slot, u64 ptr, const struct agent_exact_block *k)
{
	struct agent_exact_counters *c = counters_of(x);
	const u64 size = k->value.size & AGENT_EXACT_MAX_SIZE;

	if (put(x, ptr, k)) {
		add_both(x, slot, 0, 1, size);
		return;
	}
	context_sub(x, k->ref, size);
	count(&c->set_full, 1);
	count(&c->set_full_bytes, size);
}

void agent_exact_put_back(struct agent_exact *x, u32 slot, u64 ptr,
                          const struct agent_exact_block *k)
{
	context_again(x, k->ref, k->value.size & AGENT_EXACT_MAX_SIZE);
	keep(x, slot, ptr, k);
}

void agent_exact_reset(struct agent_exact *x, u32 slot, u64 context)
{
	u64 objects, bytes;

	if (context_reset(x, context, &objects, &bytes))
		add_both(x, slot, 1, objects, bytes);
}

/* ---- stacks ---- */

/* Not on the thread's stack, of which there may be little left. */
static struct agent_exact_work *claim_work(struct agent_exact *x, u32 slot)
{
	struct agent_exact_work *works = at(x, x->works);

	for (u32 i = 0; i < AGENT_EXACT_WORK_TRIES; i++) {
		struct agent_exact_work *w = &works[(slot + i) & (AGENT_EXACT_WORKS - 1)];
		u32 none = 0;

		if (!w->lock && __atomic_compare_exchange_n(&w->lock, &none, 1, 0, __ATOMIC_ACQUIRE,
		                                            __ATOMIC_RELAXED))
			return w;
	}
	return 0;
}

static int is_same(const struct agent_exact_stack *s, const u64 *stored,
                   const struct agent_unwind *w, const u64 *pcs)
{
	if (s->hash != w->hash || s->n != w->n || s->stop != w->stop || s->epoch != w->epoch)
		return 0;
	for (u32 i = 0; i < w->n; i++) {
		if (stored[i] != pcs[i])
			return 0;
	}
	return 1;
}

/* 0: no room. */
static u32 store(struct agent_exact *x, const struct agent_unwind *w, const u64 *pcs)
{
	struct agent_exact_counters *c = counters_of(x);
	struct agent_exact_stack *s;
	u32 id, first;
	u64 *to;

	/* looked at first: the numbers must not go round */
	if (c->used_stacks >= x->max_stacks || c->used_pcs + w->n > x->max_pcs)
		return 0;
	id = __atomic_add_fetch(&c->used_stacks, 1, __ATOMIC_RELAXED);
	first = __atomic_fetch_add(&c->used_pcs, w->n, __ATOMIC_RELAXED);
	if (id >= x->max_stacks || first + w->n > x->max_pcs)
		return 0;
	s = (struct agent_exact_stack *)at(x, x->stacks) + id;
	to = (u64 *)at(x, x->pcs) + first;
	for (u32 i = 0; i < w->n; i++)
		to[i] = pcs[i];
	s->hash = w->hash;
	s->first = first;
	s->n = w->n;
	s->stop = w->stop;
	s->epoch = w->epoch;
	__atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
	return id;
}

static u32 intern(struct agent_exact *x, const struct agent_unwind *w, const u64 *pcs)
{
	const struct agent_exact_stack *stacks = at(x, x->stacks);
	const u64 *stored = at(x, x->pcs);
	u32 *ids = at(x, x->ids), mine = 0;

	for (u32 i = 0; i < AGENT_EXACT_ID_TRIES; i++) {
		u32 *place = &ids[((u32)(w->hash >> 20) + i) & x->id_mask];
		u32 id = __atomic_load_n(place, __ATOMIC_ACQUIRE);

		if (!id) {
			mine = mine ? mine : store(x, w, pcs);
			if (!mine ||
			    __atomic_compare_exchange_n(place, &id, mine, 0, __ATOMIC_ACQ_REL,
			                                __ATOMIC_ACQUIRE))
				return mine;
			/* somebody was quicker, with the same stack or another */
		}
		if (id < x->max_stacks && is_same(&stacks[id], stored + stacks[id].first, w, pcs))
			return id;
	}
	return mine; /* found by nobody else, but there */
}

static void note_end(struct agent_exact *x, const struct agent_exact_call *c, u32 stop)
{
	if (stop == UNWIND_STOP_BAD_STACK && !c->whole)
		count(&counters_of(x)->cut, 1);
	if (stop == UNWIND_STOP_NO_MODULE)
		count(&counters_of(x)->unknown, 1);
}

/* ---- walks that are remembered ---- */

static struct agent_exact_memo *memo_of(struct agent_exact *x, const struct agent_exact_call *c)
{
	struct agent_exact_memo *memos = at(x, x->memos);
	const u64 hash = (c->ret ^ c->sp) * 0x9e3779b97f4a7c15ull;

	return &memos[c->slot * AGENT_EXACT_MEMOS + (hash >> 32) % AGENT_EXACT_MEMOS];
}

/* The stack, if a walk now would read what it has read then; else 0. It is a signal handler
 * of this thread, or who had its slot before, that may write the memo meanwhile. */
static u32 recall(struct agent_exact *x, const struct agent_exact_memo *m,
                  const struct agent_exact_call *c)
{
	const u64 lock = __atomic_load_n(&m->lock, __ATOMIC_ACQUIRE);
	const u32 n = m->n, stack = m->stack;

	if (lock & 1 || m->pc != c->ret || m->sp != c->sp || (m->uses_bp && m->bp != c->bp) ||
	    m->published != __atomic_load_n(&x->published, __ATOMIC_ACQUIRE) ||
	    m->end > c->here.end || n > AGENT_EXACT_MEMO_WORDS)
		return 0;
	for (u32 i = 0; i < n; i++) {
		const u64 from = m->words[i].at;

		/* a word of another memo, if it is being written */
		if (from < c->here.start || from > c->here.end - 8 ||
		    *(const u64 *)from != m->words[i].value)
			return 0;
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&m->lock, __ATOMIC_RELAXED) == lock ? stack : 0;
}

static void memorise(struct agent_exact_memo *m, const struct agent_exact_call *c,
                     const struct agent_unwind *w, u32 stack)
{
	u64 lock = __atomic_load_n(&m->lock, __ATOMIC_RELAXED), end = 0;

	if (!stack || !w->published || w->has_signal || w->stop != UNWIND_STOP_END ||
	    w->n_words > AGENT_EXACT_MEMO_WORDS || lock & 1 ||
	    !__atomic_compare_exchange_n(&m->lock, &lock, lock + 1, 0, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_RELAXED))
		return;
	m->published = w->published;
	m->pc = c->ret;
	m->sp = c->sp;
	m->bp = c->bp;
	m->uses_bp = w->uses_bp;
	m->n = w->n_words;
	m->stack = stack;
	for (u32 i = 0; i < w->n_words; i++) {
		m->words[i].at = w->words[i].at;
		m->words[i].value = w->words[i].value;
		if (end < w->words[i].at + 8)
			end = w->words[i].at + 8;
	}
	m->end = end;
	__atomic_store_n(&m->lock, lock + 2, __ATOMIC_RELEASE);
}

static u32 walk(struct agent_exact *x, const struct agent_exact_call *c)
{
	struct agent_exact_work *work = claim_work(x, c->slot);
	struct agent_unwind w;
	u32 id;

	if (!work)
		return 0;
	w.words = work->words;
	w.pc = c->ret;
	w.sp = c->sp;
	w.bp = c->bp;
	w.exact = 0;
	w.here = c->here;
	w.others[0] = c->others[0];
	w.others[1] = c->others[1];
	agent_unwind_walk(x, &w, work->pcs);
	id = intern(x, &w, work->pcs);
	if (c->slot < AGENT_SLOTS)
		memorise(memo_of(x, c), c, &w, id);
	__atomic_store_n(&work->lock, 0, __ATOMIC_RELEASE);
	if (w.stop != UNWIND_STOP_END)
		note_end(x, c, w.stop);
	return id;
}

static u32 stack_of(struct agent_exact *x, const struct agent_exact_call *c)
{
	u32 id = c->slot < AGENT_SLOTS ? recall(x, memo_of(x, c), c) : 0;
	struct agent_exact_stack *s;

	if (!id)
		id = walk(x, c);
	if (!id)
		return 0;
	s = (struct agent_exact_stack *)at(x, x->stacks) + id;
	count(&s->objects, 1);
	count(&s->bytes, c->size);
	return id;
}

/* ---- calls ---- */

void agent_exact_record(struct agent_exact *x, const struct agent_exact_call *c)
{
	const u32 stack = stack_of(x, c), birth = c->now >> AGENT_EXACT_BIRTH_SHIFT;
	struct agent_exact_block k;

	if (!stack) {
		count(&counters_of(x)->no_stack, 1);
		count(&counters_of(x)->no_stack_bytes, c->size);
	}
	k.ref = 0;
	if (HAS_CONTEXTS(x) && c->context > AGENT_BUSY) {
		k.ref = context_add(x, c->context, c->size);
		if (!k.ref) {
			count(&counters_of(x)->contexts_full, 1);
			count(&counters_of(x)->set_full, 1);
			count(&counters_of(x)->set_full_bytes, c->size);
			return;
		}
	}
	k.value.size = c->size | agent_exact_check(c->ptr, c->size, stack, birth, k.ref);
	k.value.stack = stack;
	k.value.birth = birth;
	keep(x, c->slot, c->ptr, &k);
}

int agent_exact_late(struct agent_exact *x, u64 size, u64 ticks)
{
	struct agent_exact_counters *c = counters_of(x);
	u64 none = 0;

	count(&c->late, 1);
	count(&c->late_bytes, size);
	return ticks > x->alive && __atomic_compare_exchange_n(&c->gave_up, &none, 1, 0,
	                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
