/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Exact mode's tables as the agent keeps them, with no target: threads that record and take
 * blocks at once, a set that overflows into its levels and at last is full, and stacks that
 * are stored once. What is held is known to the byte at each end. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/agent_exact.h"
#include "base/cleanup.h"

enum {
	LEVELS = 2,
	PLACES = 7 * ((1 << AGENT_EXACT_FIRST_BITS) +
	              (1 << (AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS))),
	MAX_STACKS = 64,
	MAX_PCS = 1024,
	N_IDS = 128,
	N_THREADS = 8,
	N_BLOCKS = 4000, /* of a thread at once */
	ROUNDS = 60,
};

struct memory {
	struct agent_exact x;
	struct agent_exact_counters counters;
	struct agent_exact_thread threads[AGENT_SLOTS];
	struct agent_exact_work works[AGENT_EXACT_WORKS];
	struct agent_exact_memo memos[AGENT_SLOTS * AGENT_EXACT_MEMOS];
	agent_u64 rules[1 << AGENT_EXACT_RULE_BITS];
	agent_u32 ids[N_IDS];
	struct agent_exact_stack stacks[MAX_STACKS];
	agent_u64 pcs[MAX_PCS];
	struct agent_exact_span spans[2 * AGENT_EXACT_MAX_SPANS];
	agent_u64 index[256];
	struct unwind_row rows[2];
	agent_u64 level0[(sizeof(struct agent_exact_bucket) << AGENT_EXACT_FIRST_BITS) / 8]
		__attribute__((aligned(64)));
	agent_u64 level1[(sizeof(struct agent_exact_bucket)
	                  << (AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS)) /
	                 8];
	struct agent_exact_refs refs0[1 << AGENT_EXACT_FIRST_BITS];
	struct agent_exact_refs refs1[1 << (AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS)];
	struct agent_exact_context contexts[1 << AGENT_EXACT_CONTEXT_BITS];
};

static struct memory *m;

static int make(void **state)
{
	m = aligned_alloc(4096, (sizeof(*m) + 4095) / 4096 * 4096);
	assert_non_null(m);
	memset(m, 0, sizeof(*m));
	m->x.counters = offsetof(struct memory, counters);
	m->x.threads = offsetof(struct memory, threads);
	m->x.works = offsetof(struct memory, works);
	m->x.memos = offsetof(struct memory, memos);
	m->x.rules = offsetof(struct memory, rules);
	m->x.ids = offsetof(struct memory, ids);
	m->x.id_mask = N_IDS - 1;
	m->x.stacks = offsetof(struct memory, stacks);
	m->x.max_stacks = MAX_STACKS;
	m->x.pcs = offsetof(struct memory, pcs);
	m->x.max_pcs = MAX_PCS;
	m->x.spans = offsetof(struct memory, spans);
	m->x.n_levels = LEVELS;
	m->x.levels[0] = offsetof(struct memory, level0);
	m->x.levels[1] = offsetof(struct memory, level1);
	m->x.published = agent_exact_published(1, 0, 0, 0);
	return 0;
}

static int make_with_contexts(void **state)
{
	make(state);
	m->x.contexts = offsetof(struct memory, contexts);
	m->x.refs[0] = offsetof(struct memory, refs0);
	m->x.refs[1] = offsetof(struct memory, refs1);
	return 0;
}

static int give_back(void **state)
{
	free(m);
	return 0;
}

/* No code is known, so a stack is its first pc. */
static void record_in(agent_u64 context, agent_u64 ptr, agent_u64 size, agent_u64 pc,
                      agent_u32 slot)
{
	agent_u64 stack[4] = { 0 };
	const struct agent_exact_call c = { .ptr = ptr,
		                            .size = size,
		                            .context = context,
		                            .ret = pc,
		                            .sp = (uintptr_t)stack,
		                            .slot = slot,
		                            .whole = 1,
		                            .here = { (uintptr_t)stack, (uintptr_t)(stack + 4) } };

	agent_exact_record(&m->x, &c);
}

static void record_at(agent_u64 ptr, agent_u64 size, agent_u64 pc, agent_u32 slot)
{
	record_in(0, ptr, size, pc, slot);
}

static int lives(agent_u64 ref)
{
	return !ref || m->contexts[((agent_u32)ref - 1) % ARRAY_SIZE(m->contexts)].generation ==
	                       (agent_u32)(ref >> 32);
}

static size_t held(const agent_u64 *level, unsigned bits, agent_u64 *bytes)
{
	const struct agent_exact_refs *refs = level == m->level0 ? m->refs0 : m->refs1;
	const struct agent_exact_bucket *b = (const void *)level;
	size_t n = 0;

	for (size_t i = 0; i < 7ull << bits; i++) {
		const agent_u64 ptr = b[i / 7].ptrs[i % 7];
		const struct agent_exact_value *v = &b[i / 7].values[i % 7];
		const agent_u64 size = v->size & AGENT_EXACT_MAX_SIZE,
				ref = refs[i / 7].refs[i % 7];

		if (ptr <= AGENT_BUSY || !lives(ref))
			continue;
		assert_int_equal(v->size,
		                 size | agent_exact_check(ptr, size, v->stack, v->birth, ref));
		*bytes += size;
		n++;
	}
	return n;
}

static size_t all_held(agent_u64 *bytes)
{
	*bytes = 0;
	return held(m->level0, AGENT_EXACT_FIRST_BITS, bytes) +
	       held(m->level1, AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS, bytes);
}

static agent_u64 n_elsewhere(const agent_u64 *level, unsigned bits)
{
	const struct agent_exact_bucket *b = (const void *)level;
	agent_u64 n = 0;

	for (size_t i = 0; i < 1ull << bits; i++)
		n += b[i].elsewhere;
	return n;
}

static void a_full_set_is_counted_and_emptied(void **state)
{
	enum { N = PLACES + PLACES / 4 };
	struct agent_exact_block v;
	size_t n = 0, taken = 0;
	agent_u64 bytes;

	for (size_t i = 1; i <= N; i++)
		record_at(i * 32, i % 1000, 0x1000, 0);
	n = all_held(&bytes);
	assert_int_equal(n + m->counters.set_full, N);
	assert_true(n > PLACES * 0.9);
	assert_int_equal(m->threads[0].objects, n);
	assert_int_equal(m->threads[0].bytes, bytes);
	assert_int_equal(m->counters.top, 1);
	for (size_t i = 1; i <= N; i++) {
		if (!agent_exact_take(&m->x, 0, i * 32, &v))
			continue;
		taken++;
		assert_int_equal(v.value.size & AGENT_EXACT_MAX_SIZE, i % 1000);
	}
	assert_int_equal(taken, n);
	assert_int_equal(all_held(&bytes), 0);
	/* nobody looks further any more for what is not there */
	assert_int_equal(n_elsewhere(m->level0, AGENT_EXACT_FIRST_BITS), 0);
	assert_int_equal(n_elsewhere(m->level1, AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS), 0);
	assert_int_equal(m->threads[0].freed_bytes, m->threads[0].bytes);
}

static void others_blocks_are_not_taken(void **state)
{
	struct agent_exact_block v;

	record_at(0x5000, 10, 0x1000, 1);
	assert_int_equal(agent_exact_take(&m->x, 1, 0x5010, &v), 0);
	assert_int_equal(agent_exact_take(&m->x, 1, 0, &v), 0);
	assert_int_equal(agent_exact_take(&m->x, 1, 0x5000, &v), 1);
	assert_int_equal(agent_exact_take(&m->x, 1, 0x5000, &v), 0);
	agent_exact_put_back(&m->x, 1, 0x5000, &v);
	assert_int_equal(agent_exact_take(&m->x, AGENT_SLOTS, 0x5000, &v), 1);
	assert_int_equal(m->counters.others.freed_bytes, 10);
}

/* ---- contexts ---- */

enum { N_CONTEXTS = 300, N_PTRS = 150000 };

static agent_u64 context_at(unsigned i)
{
	return 0x7f0000000000 + i * 0x2010ull;
}

/* What is in the set by the book; a reset leaves the addresses to whoever comes. */
static struct {
	unsigned context[N_PTRS]; /* 1 + its number; 0: free */
	agent_u64 size[N_PTRS], objects, bytes;
} book;

static void allocate(unsigned i, unsigned context, agent_u64 size)
{
	if (book.context[i])
		return;
	record_in(context_at(context), (i + 1) * 16ull, size, 0x1000, 0);
	book.context[i] = context + 1;
	book.size[i] = size;
	book.objects++;
	book.bytes += size;
}

static void forget(unsigned i)
{
	book.objects--;
	book.bytes -= book.size[i];
	book.context[i] = 0;
}

static void release(unsigned i)
{
	struct agent_exact_block b = { 0 };

	assert_int_equal(agent_exact_has(&m->x, (i + 1) * 16ull), book.context[i] != 0);
	assert_int_equal(agent_exact_take(&m->x, 0, (i + 1) * 16ull, &b), book.context[i] != 0);
	if (!book.context[i])
		return;
	assert_int_equal(b.value.size & AGENT_EXACT_MAX_SIZE, book.size[i]);
	if (i % 8 == 0) { /* a realloc() that fails */
		agent_exact_put_back(&m->x, 0, (i + 1) * 16ull, &b);
		assert_int_equal(agent_exact_take(&m->x, 0, (i + 1) * 16ull, &b), 1);
	}
	forget(i);
}

static void reset(unsigned context)
{
	agent_exact_reset(&m->x, 0, context_at(context));
	for (unsigned i = 0; i < N_PTRS; i++) {
		if (book.context[i] == context + 1)
			forget(i);
	}
}

static void compare(void)
{
	const struct agent_exact_thread *t = &m->threads[0];
	agent_u64 bytes;

	assert_int_equal(all_held(&bytes), book.objects);
	assert_int_equal(bytes, book.bytes);
	/* with put_back() counted again on both sides */
	assert_int_equal(t->objects - t->freed_objects, book.objects);
	assert_int_equal(t->bytes - t->freed_bytes, book.bytes);
	assert_int_equal(m->counters.set_full, 0);
}

static void contexts_go_at_once(void **state)
{
	memset(&book, 0, sizeof(book));
	srandom(1);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned k = 0; k < N_PTRS / 2; k++)
			allocate((unsigned)random() % N_PTRS, (unsigned)random() % N_CONTEXTS,
			         (agent_u64)random() % 5000);
		for (unsigned k = 0; k < N_PTRS / 8; k++)
			release((unsigned)random() % N_PTRS);
		for (unsigned k = 0; k < N_CONTEXTS / 3; k++)
			reset((unsigned)random() % N_CONTEXTS);
		compare();
	}
	assert_true(book.objects > 10000 && m->counters.top == 1);
	for (unsigned i = 0; i < N_PTRS; i++)
		release(i);
	for (unsigned i = 0; i < N_CONTEXTS; i++)
		reset(i);
	compare();
	assert_int_equal(book.objects, 0);
}

/* As many as there is room for, again and again: nothing but resets makes room. */
static void places_of_what_is_gone_are_used(void **state)
{
	enum { N = PLACES * 3 / 4 };
	agent_u64 bytes;

	for (unsigned round = 0; round < 5; round++) {
		/* other addresses each time */
		for (agent_u64 i = 0; i < N; i++)
			record_in(context_at(round % 2), (round * (agent_u64)N + i + 1) * 16, 1,
			          0x1000, 0);
		assert_int_equal(m->counters.set_full, 0);
		assert_int_equal(all_held(&bytes), N);
		agent_exact_reset(&m->x, 0, context_at(round % 2));
		assert_int_equal(all_held(&bytes), 0);
	}
	/* one after the other goes where those were; nobody looks further at the end */
	for (agent_u64 i = 0; i < 5ull * N; i++) {
		struct agent_exact_block b;

		assert_int_equal(agent_exact_take(&m->x, 0, (i + 1) * 16, &b), 0);
	}
	assert_int_equal(n_elsewhere(m->level0, AGENT_EXACT_FIRST_BITS), 0);
	assert_int_equal(n_elsewhere(m->level1, AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS), 0);
	assert_int_equal(m->threads[0].freed_objects, 5ull * N);
}

/* By the hundred thousand, one after the other; then more at once than there is room for. */
static void contexts_come_and_go(void **state)
{
	agent_u64 bytes;

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(m->contexts); i++) {
		struct agent_exact_block b;

		record_in(context_at(i), 16, 7, 0x1000, 0);
		if (i % 2)
			agent_exact_reset(&m->x, 0, context_at(i));
		else
			assert_int_equal(agent_exact_take(&m->x, 0, 16, &b), 1);
	}
	assert_int_equal(m->counters.contexts_full, 0);
	assert_int_equal(all_held(&bytes), 0);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(m->contexts); i++)
		record_in(context_at(i), (i + 1) * 16ull, 7, 0x1000, 0);
	assert_true(m->counters.contexts_full >= ARRAY_SIZE(m->contexts));
	assert_int_equal(m->counters.set_full, m->counters.contexts_full);
	assert_int_equal(m->counters.set_full_bytes, 7 * m->counters.contexts_full);
	assert_int_equal(all_held(&bytes) + m->counters.contexts_full, 2 * ARRAY_SIZE(m->contexts));
	agent_exact_reset(&m->x, 0, 0xdead);
	agent_exact_reset(&m->x, 0, 0);
}

/* ---- threads ---- */

/* Each has addresses of its own, as an allocator gives them; at the end it keeps a third. */
static void *work(void *arg)
{
	const uintptr_t me = (uintptr_t)arg;
	struct agent_exact_block v;

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < N_BLOCKS; i++)
			record_at((i * N_THREADS + me + 1) * 16, i % 100 + 1, 0x1000 + i % 10, me);
		for (size_t i = 0; i < N_BLOCKS; i++) {
			const agent_u64 ptr = (i * N_THREADS + me + 1) * 16;

			if (round == ROUNDS - 1 && i % 3 == 0)
				continue;
			if (!agent_exact_take(&m->x, me, ptr, &v) ||
			    (v.value.size & AGENT_EXACT_MAX_SIZE) != i % 100 + 1)
				return arg;
		}
	}
	return NULL;
}

static void threads_lose_nothing(void **state)
{
	pthread_t threads[N_THREADS];
	agent_u64 bytes, truth = 0;
	size_t n = 0;

	for (uintptr_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
	for (int i = 0; i < N_THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	for (size_t i = 0; i < N_BLOCKS; i += 3, n += N_THREADS)
		truth += N_THREADS * (i % 100 + 1);
	assert_int_equal(all_held(&bytes), n);
	assert_int_equal(bytes, truth);
	assert_int_equal(m->counters.set_full, 0);
	assert_int_equal(m->counters.no_stack, 0);
	assert_in_range(m->counters.used_stacks, 10, MAX_STACKS - 1);
}

/* ---- stacks ---- */

static void stacks_are_stored_once_until_there_is_no_room(void **state)
{
	agent_u64 objects = 0, bytes = 0;

	for (int turn = 0; turn < 3; turn++) {
		for (agent_u64 i = 0; i < 10; i++)
			record_at((turn * 10 + i + 1) * 16, 5, 0x1000 + i, 0);
	}
	assert_int_equal(m->counters.used_stacks, 10);
	for (agent_u32 id = 1; id <= 10; id++) {
		assert_int_equal(m->stacks[id].objects, 3);
		assert_int_equal(m->pcs[m->stacks[id].first], 0xfff + id);
		assert_int_equal(m->stacks[id].stop, UNWIND_STOP_NO_MODULE);
	}
	for (agent_u64 i = 0; i < 500; i++)
		record_at((i + 100) * 16, 7, 0x2000 + i, 0);
	for (agent_u32 id = 1; id < MAX_STACKS; id++) {
		objects += m->stacks[id].objects;
		bytes += m->stacks[id].bytes;
	}
	assert_int_equal(objects + m->counters.no_stack, 530);
	assert_int_equal(bytes + m->counters.no_stack_bytes, 150 + 3500);
	assert_in_range(m->counters.used_stacks, MAX_STACKS - 1, MAX_STACKS);
	/* the blocks are there, also without */
	assert_int_equal(all_held(&bytes), 530);
	assert_int_equal(bytes, 150 + 3500);
}

static void another_epoch_is_another_stack(void **state)
{
	record_at(16, 1, 0x1000, 0);
	m->x.published = agent_exact_published(2, 1, 0, 1);
	record_at(32, 1, 0x1000, 0);
	assert_int_equal(m->counters.used_stacks, 2);
	assert_int_equal(m->stacks[2].epoch, 1);
}

/* ---- walks that are remembered ---- */

enum { CODE = 0x10000, OUTERMOST = CODE + 0xff00 };

/* Frames of one word each, up to a function that nobody has called. */
static void make_code(void)
{
	m->x.index = offsetof(struct memory, index);
	m->x.rows = offsetof(struct memory, rows);
	m->x.n_index = 256;
	m->x.n_rows = 2;
	m->rows[0] = (struct unwind_row){ .pc = 0, .cfa_offset = 8, .type = UNWIND_RSP };
	m->rows[1] = (struct unwind_row){ .pc = 0xff00 - 1, .type = UNWIND_END };
	for (int i = 0; i < 256; i++)
		m->index[i] = 1ull << 32;
	m->spans[0] = (struct agent_exact_span){
		.start = CODE, .end = CODE + 0x10000, .text = CODE, .n_rows = 2, .n_index = 256
	};
	m->x.published = agent_exact_published(1, 0, 1, 0);
}

static agent_u64 bp;

static void record_on(agent_u64 ptr, const agent_u64 *stack, size_t n)
{
	const struct agent_exact_call c = { .ptr = ptr,
		                            .size = 1,
		                            .ret = CODE + 0x10,
		                            .sp = (uintptr_t)stack,
		                            .bp = bp,
		                            .slot = 3,
		                            .whole = 1,
		                            .here = { (uintptr_t)stack, (uintptr_t)(stack + n) } };

	agent_exact_record(&m->x, &c);
}

static agent_u64 n_written(void)
{
	agent_u64 n = 0;

	for (int i = 0; i < AGENT_EXACT_MEMOS; i++)
		n += m->memos[3 * AGENT_EXACT_MEMOS + i].lock / 2;
	return n;
}

static void a_walk_is_remembered_as_long_as_its_words_are_the_same(void **state)
{
	agent_u64 stack[40];

	make_code();
	for (int i = 0; i < 40; i++)
		stack[i] = CODE + 0x100 + 16 * i;
	stack[20] = OUTERMOST;
	record_on(16, stack, 40);
	record_on(32, stack, 40);
	assert_int_equal(m->stacks[1].n, 22);
	assert_int_equal(m->stacks[1].stop, UNWIND_STOP_END);
	assert_int_equal(m->stacks[1].objects, 2);
	assert_int_equal(n_written(), 1);
	/* each of them counts */
	for (int i = 0; i < 20; i++) {
		stack[i] += 8;
		record_on(48, stack, 40);
		assert_int_equal(m->counters.used_stacks, i + 2);
		assert_int_equal(m->pcs[m->stacks[i + 2].first + i + 1], stack[i]);
	}
	/* but none that was not read */
	stack[21] = 1;
	record_on(64, stack, 40);
	assert_int_equal(n_written(), 21);
	assert_int_equal(m->stacks[21].objects, 2);
	/* it does not go further than is proven, whatever was there before */
	record_on(80, stack, 10);
	assert_int_equal(m->stacks[22].stop, UNWIND_STOP_BAD_STACK);
	assert_int_equal(n_written(), 21);
	/* nor by a list of code that is over */
	m->x.published = agent_exact_published(2, 1, 0, 0);
	record_on(96, stack, 40);
	assert_int_equal(m->stacks[23].stop, UNWIND_STOP_NO_MODULE);
}

/* A register of any value, until a frame is found by it. */
static void the_frame_pointer_counts_where_it_is_used(void **state)
{
	agent_u64 stack[8] = { OUTERMOST, OUTERMOST, OUTERMOST, OUTERMOST };

	make_code();
	for (bp = 1; bp < 5; bp++)
		record_on(16 * bp, stack, 8);
	assert_int_equal(n_written(), 1);
	m->rows[0] = (struct unwind_row){ .pc = 0, .cfa_offset = 16, .type = UNWIND_RBP };
	memset(m->rules, 0, sizeof(m->rules));
	m->x.published = agent_exact_published(2, 0, 1, 0);
	stack[1] = CODE + 0x30;
	stack[3] = OUTERMOST + 1;
	bp = (uintptr_t)stack;
	record_on(160, stack, 8);
	bp = (uintptr_t)(stack + 2);
	record_on(176, stack, 8);
	assert_int_equal(n_written(), 2);
	assert_int_equal(m->counters.used_stacks, 3);
	assert_int_equal(m->pcs[m->stacks[3].first + 1], OUTERMOST + 1);
	bp = 0;
}

static void a_memo_that_is_being_written_is_not_believed(void **state)
{
	agent_u64 stack[4] = { OUTERMOST };

	make_code();
	record_on(16, stack, 4);
	assert_int_equal(n_written(), 1);
	for (int i = 0; i < AGENT_EXACT_MEMOS; i++) {
		m->memos[3 * AGENT_EXACT_MEMOS + i].lock |= 1;
		m->memos[3 * AGENT_EXACT_MEMOS + i].stack = 7;
	}
	record_on(32, stack, 4);
	assert_int_equal(m->stacks[1].objects, 2);
	assert_int_equal(m->stacks[7].objects, 0);
}

static void who_is_late_is_told_once(void **state)
{
	m->x.alive = 1000;
	assert_int_equal(agent_exact_late(&m->x, 7, 10), 0);
	assert_int_equal(agent_exact_late(&m->x, 7, 1001), 1);
	assert_int_equal(agent_exact_late(&m->x, 7, 1002), 0);
	assert_int_equal(m->counters.late, 3);
	assert_int_equal(m->counters.late_bytes, 21);
}

/* What a child has that is forked in the middle of a call: it must not fault. */
static void wiped_tables_take_nothing(void **state)
{
	struct agent_exact_block v;

	memset(&m->x, 0, sizeof(m->x));
	record_at(16, 1, 0x1000, 0);
	record_at(32, 1, 0x1000, AGENT_SLOTS);
	assert_int_equal(agent_exact_take(&m->x, 0, 16, &v), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_full_set_is_counted_and_emptied, make, give_back),
		cmocka_unit_test_setup_teardown(others_blocks_are_not_taken, make, give_back),
		cmocka_unit_test_setup_teardown(contexts_go_at_once, make_with_contexts, give_back),
		cmocka_unit_test_setup_teardown(places_of_what_is_gone_are_used, make_with_contexts,
		                                give_back),
		cmocka_unit_test_setup_teardown(contexts_come_and_go, make_with_contexts,
		                                give_back),
		cmocka_unit_test_setup_teardown(threads_lose_nothing, make, give_back),
		cmocka_unit_test_setup_teardown(stacks_are_stored_once_until_there_is_no_room, make,
		                                give_back),
		cmocka_unit_test_setup_teardown(another_epoch_is_another_stack, make, give_back),
		cmocka_unit_test_setup_teardown(
			a_walk_is_remembered_as_long_as_its_words_are_the_same, make, give_back),
		cmocka_unit_test_setup_teardown(the_frame_pointer_counts_where_it_is_used, make,
		                                give_back),
		cmocka_unit_test_setup_teardown(a_memo_that_is_being_written_is_not_believed, make,
		                                give_back),
		cmocka_unit_test_setup_teardown(who_is_late_is_told_once, make, give_back),
		cmocka_unit_test_setup_teardown(wiped_tables_take_nothing, make, give_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
