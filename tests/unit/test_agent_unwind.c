/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The unwinder that runs inside targets gives the frames of unwind_walk(), from the same
 * registers, on real stacks; and reads nothing but what it has been told of. */

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent_unwind.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "target/elf_file.h"
#include "unwind/bpf_tables.h"
#include "unwind/unwind.h"

enum { MAX_MODULES = 64, MAX_ROWS = 1 << 18, RULES = 1 << AGENT_EXACT_RULE_BITS };

static struct unwind_module modules[MAX_MODULES];
static size_t n_modules;

/* The agent's tables, as one piece of memory. */
static struct exact {
	struct agent_exact head;
	u64 rules[RULES];
	struct agent_exact_span spans[2][AGENT_EXACT_MAX_SPANS];
	u64 index[MAX_ROWS];
	struct unwind_row rows[MAX_ROWS];
} exact;

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *name = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct unwind_table *t = NULL;
	struct error err = { 0 };

	if (strstr(name, "vdso"))
		return 0;
	if (elf_file_open(open(name, O_RDONLY | O_CLOEXEC), name, &f, &err) < 0 ||
	    unwind_table_make(f, &t, &err) < 0)
		fail_msg("%s", err.message);
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint64_t start = info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_LOAD && p->p_flags & PF_X)
			modules[n_modules++] = (struct unwind_module){ start, start + p->p_memsz,
				                                       info->dlpi_addr, t };
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct unwind_module *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

#define AT(field) offsetof(struct exact, field)

static void publish(u32 generation, u32 half, u32 n)
{
	exact.head.published = agent_exact_published(generation, half, n, 0);
}

static int load(void **state)
{
	struct bpf_tables t = { .rows = { exact.rows, sizeof(exact.rows), MAX_ROWS, 0 },
		                .index = { exact.index, sizeof(exact.index), MAX_ROWS, 0 } };
	struct bpf_tables_module at;
	struct error err = { 0 };

	dl_iterate_phdr(add_module, NULL);
	qsort(modules, n_modules, sizeof(*modules), by_start);
	for (size_t i = 0; i < n_modules; i++) {
		if (bpf_tables_add(&t, modules[i].table, &at, &err) < 0)
			fail_msg("%s", err.message);
		exact.spans[0][i] = (struct agent_exact_span){ .start = modules[i].start,
			                                       .end = modules[i].end,
			                                       .text = modules[i].bias +
			                                               at.text_base,
			                                       .first_row = at.first_row,
			                                       .n_rows = at.n_rows,
			                                       .first_index = at.first_index,
			                                       .n_index = at.n_index };
	}
	exact.head.rules = AT(rules);
	exact.head.spans = AT(spans);
	exact.head.index = AT(index);
	exact.head.rows = AT(rows);
	exact.head.n_index = t.index.used;
	exact.head.n_rows = t.rows.used;
	publish(1, 0, n_modules);
	return 0;
}

static int unload(void **state)
{
	for (size_t i = 0; i < n_modules; i++)
		unwind_table_free((struct unwind_table *)modules[i].table);
	return 0;
}

/* ---- both walks ---- */

struct both {
	agent_u64 ours[UNWIND_MAX_FRAMES];
	uint64_t theirs[UNWIND_MAX_FRAMES];
	struct agent_unwind w;
	size_t n_theirs;
	enum unwind_stop stop;
	u64 end; /* of what may be read; 0: of the whole stack */
};

static int read_here(void *arg, uint64_t addr, void *buf, size_t len)
{
	const struct both *b = arg;

	if (b->end && (addr >= b->end || len > b->end - addr))
		return -EFAULT;
	memcpy(buf, (const void *)addr, len);
	return 0;
}

static __attribute__((noinline)) void walk_here(struct both *b)
{
	ucontext_t c;
	const greg_t *g = c.uc_mcontext.gregs;

	getcontext(&c);
	b->w = (struct agent_unwind){ .pc = g[REG_RIP],
		                      .sp = g[REG_RSP],
		                      .bp = g[REG_RBP],
		                      .exact = 1,
		                      .here = { g[REG_RSP], b->end ? b->end : ~7ull },
		                      .others = { { 8, ~7ull } } };
	agent_unwind_walk(&exact.head, &b->w, b->ours);
	b->n_theirs = unwind_walk(modules, n_modules,
	                          (struct unwind_regs){ g[REG_RIP], g[REG_RSP], g[REG_RBP] },
	                          read_here, b, b->theirs, UNWIND_MAX_FRAMES, &b->stop);
}

static void assert_same(const struct both *b, enum unwind_stop stop)
{
	assert_int_equal(b->stop, stop);
	assert_int_equal(b->w.stop, stop);
	assert_int_equal(b->w.n, b->n_theirs);
	for (size_t i = 0; i < b->n_theirs; i++)
		assert_int_equal(b->ours[i] & ~AGENT_EXACT_PC_EXACT, b->theirs[i]);
}

static u64 n_rules(void)
{
	u64 n = 0;

	for (size_t i = 0; i < RULES; i++)
		n += exact.rules[i] != 0;
	return n;
}

/* By looking up each row, then by what is remembered: the same. */
static void walk_twice(void (*way)(struct both *b), enum unwind_stop stop)
{
	static struct both first, second;

	memset(exact.rules, 0, sizeof(exact.rules));
	first = second = (struct both){ 0 };
	way(&first);
	assert_same(&first, stop);
	assert_true(first.n_theirs > 3);
	assert_true(n_rules() > 0);
	/* the first pc is no return address, and is never remembered */
	way(&second);
	assert_same(&second, stop);
	assert_int_equal(second.w.n, first.w.n);
}

static void frames_are_those_of_the_other_walk(void **state)
{
	walk_twice(walk_here, UNWIND_STOP_END);
}

static int compare_walking(const void *x, const void *y, void *arg)
{
	struct both *b = arg;

	if (!b->w.n)
		walk_here(b);
	return *(const int *)x - *(const int *)y;
}

static void in_qsort(struct both *b)
{
	int numbers[] = { 3, 1, 2 };

	qsort_r(numbers, 3, sizeof(int), compare_walking, b);
}

static void through_a_library(void **state)
{
	walk_twice(in_qsort, UNWIND_STOP_END);
}

static void *walk_in_thread(void *arg)
{
	walk_here(arg);
	return NULL;
}

static void in_a_thread(void **state)
{
	static struct both b;
	pthread_t t;

	b = (struct both){ 0 };
	assert_int_equal(pthread_create(&t, NULL, walk_in_thread, &b), 0);
	pthread_join(t, NULL);
	assert_same(&b, UNWIND_STOP_END);
}

/* gcc realigns the stack with DRAP when there are arguments on it */
static __attribute__((noinline, target("avx"))) long realigned(struct both *b, long a2, long a3,
                                                               long a4, long a5, long a6, long a7)
{
	volatile char aligned[64] __attribute__((aligned(64))) = { 1 };
	volatile char *dynamic = __builtin_alloca(a2);

	dynamic[0] = aligned[0];
	walk_here(b);
	return dynamic[0] + aligned[1] + a7;
}

static void in_realigned(struct both *b)
{
	assert_int_equal(realigned(b, 40, 0, 0, 0, 0, 6), 7);
}

static __attribute__((noinline)) void in_far_frame(struct both *b)
{
	volatile char big[100000];

	big[0] = 1;
	walk_here(b);
	assert_int_equal(big[0], 1);
}

static void in_frames_of_other_kinds(void **state)
{
	walk_twice(in_realigned, UNWIND_STOP_END);
	walk_twice(in_far_frame, UNWIND_STOP_END);
}

static struct both *in_handler;

static void handler(int signal)
{
	walk_here(in_handler);
}

static void in_signal(struct both *b)
{
	in_handler = b;
	raise(SIGUSR1);
}

static u64 n_exact(const struct both *b)
{
	u64 n = 0;

	for (u32 i = 1; i < b->w.n; i++)
		n += !!(b->ours[i] & AGENT_EXACT_PC_EXACT);
	return n;
}

static void through_signals(void **state)
{
	static char alternate[65536];
	static struct both b;
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct sigaction action = { .sa_handler = handler };

	sigaction(SIGUSR1, &action, NULL);
	walk_twice(in_signal, UNWIND_STOP_END);
	assert_int_equal(sigaltstack(&stack, NULL), 0);
	action.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR1, &action, NULL);
	walk_twice(in_signal, UNWIND_STOP_END);
	in_signal(&b);
	assert_int_equal(n_exact(&b), 1);
}

static __attribute__((noinline)) int recurse(struct both *b, int depth)
{
	volatile int more = depth;

	if (!depth)
		walk_here(b);
	else
		more += recurse(b, depth - 1);
	return more;
}

static void deep(struct both *b)
{
	recurse(b, 2 * UNWIND_MAX_FRAMES);
}

static void not_so_deep(struct both *b)
{
	recurse(b, UNWIND_MAX_FRAMES / 2);
}

static void deep_stacks_are_cut_where_the_other_cuts(void **state)
{
	walk_twice(not_so_deep, UNWIND_STOP_END);
	walk_twice(deep, UNWIND_STOP_DEEP);
}

/* ---- what it may not do ---- */

static u64 top_of_page(const void *p)
{
	return ((uintptr_t)p | 4095) + 1;
}

static void cut(struct both *b)
{
	int here;

	b->end = top_of_page(&here) - 4096;
	recurse(b, 300);
}

/* The other one refuses the same words, so it ends at the same frame. */
static void nothing_behind_the_end_is_read(void **state)
{
	static struct both b;
	size_t n;

	for (unsigned words = 8; words < 600; words += 37) {
		b = (struct both){ 0 };
		b.end = (uintptr_t)__builtin_frame_address(0) + 8 * words;
		recurse(&b, 10);
		assert_int_equal(b.w.n, b.n_theirs);
		assert_int_equal(b.w.stop, b.stop);
	}
	b = (struct both){ 0 };
	cut(&b);
	n = b.w.n;
	b = (struct both){ 0 };
	recurse(&b, 300);
	assert_true(n < b.w.n);
}

/* A stack whose end is the end of memory: it would be a crash. */
static void a_stack_that_ends_is_not_left(void **state)
{
	char *memory = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	agent_u64 *words, pcs[UNWIND_MAX_FRAMES], pc = exact.spans[0][0].start + 64;

	assert_int_equal(mprotect(memory + 4096, 4096, PROT_READ | PROT_WRITE), 0);
	words = (agent_u64 *)(void *)(memory + 4096);
	for (size_t k = 0; k < 512; k++)
		words[k] = pc;
	/* any code, any registers */
	for (u64 i = 0; i < 200000; i++) {
		const struct agent_exact_span *s = &exact.spans[0][i % n_modules];
		struct agent_unwind w = { .pc = s->start + i * 7919 % (s->end - s->start),
			                  .sp = (uintptr_t)(words + i * 31 % 512),
			                  .bp = (uintptr_t)memory + i * 104729 % (3 * 4096),
			                  .exact = i & 1,
			                  .others = {
						  { (uintptr_t)words, (uintptr_t)words + 4096 } } };

		w.here = (struct agent_unwind_range){ w.sp, (uintptr_t)words + 4096 };
		agent_unwind_walk(&exact.head, &w, pcs);
		assert_in_range(w.n, 1, UNWIND_MAX_FRAMES);
		words[i * 77 % 512] = w.pc ^ i;
	}
	munmap(memory, 3 * 4096);
}

/* What a child sees that is forked in the middle. */
static void a_wiped_table_is_no_code(void **state)
{
	static struct {
		struct agent_exact head;
		char behind[4096];
	} none;
	agent_u64 pcs[UNWIND_MAX_FRAMES], stack[8] = { 0 };
	struct agent_unwind w = { .pc = 0x1234, .sp = (uintptr_t)stack };

	w.here = (struct agent_unwind_range){ w.sp, w.sp + sizeof(stack) };
	agent_unwind_walk(&none.head, &w, pcs);
	assert_int_equal(w.n, 1);
	assert_int_equal(w.stop, UNWIND_STOP_NO_MODULE);
}

/* What was remembered of code that has gone is not believed in the next generation. */
static void a_new_list_forgets(void **state)
{
	static struct both b;

	walk_here(&b);
	walk_here(&b);
	assert_true(n_rules() > 2);
	publish(2, 1, 0);
	b = (struct both){ 0 };
	walk_here(&b);
	assert_int_equal(b.w.n, 1);
	assert_int_equal(b.w.stop, UNWIND_STOP_NO_MODULE);
	publish(3, 0, n_modules);
	walk_here(&b);
	assert_same(&b, UNWIND_STOP_END);
}

static void equal_stacks_have_one_hash(void **state)
{
	static struct both b[3];

	/* by one call, not by one for each turn of the loop */
	for (volatile int i = 0; i < 3; i++)
		recurse(&b[i], i < 2 ? 5 : 6);
	assert_int_equal(b[0].w.hash, b[1].w.hash);
	assert_int_not_equal(b[0].w.hash, b[2].w.hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_those_of_the_other_walk),
		cmocka_unit_test(through_a_library),
		cmocka_unit_test(in_a_thread),
		cmocka_unit_test(in_frames_of_other_kinds),
		cmocka_unit_test(through_signals),
		cmocka_unit_test(deep_stacks_are_cut_where_the_other_cuts),
		cmocka_unit_test(nothing_behind_the_end_is_read),
		cmocka_unit_test(a_stack_that_ends_is_not_left),
		cmocka_unit_test(a_wiped_table_is_no_code),
		cmocka_unit_test(a_new_list_forgets),
		cmocka_unit_test(equal_stacks_have_one_hash),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
