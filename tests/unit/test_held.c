/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "inject/held.h"
#include "inject/inject.h"

enum { PAGE = 4096, STACK_BYTES = 1 << 20 };
#define STUB 0x123456789000ull

static struct {
	volatile pid_t tid;
	volatile bool is_absent;
} * shared;
static uint8_t *stack;

/* Between @words and the stack pointer there is less than the 64 KiB that are looked at. */
static void stand(volatile uint64_t *words)
{
	uint64_t *page = (uint64_t *)(((uintptr_t)words + PAGE - 1) / PAGE * PAGE);

	page[7] = STUB + 16;
	/* memory that is shared keeps it, but the page is not mapped any more: as if it were
	 * swapped out */
	if (shared->is_absent)
		madvise(page, PAGE, MADV_DONTNEED);
	shared->tid = (pid_t)syscall(SYS_gettid);
	for (;;)
		pause();
}

static void *run(void *unused)
{
	volatile uint64_t words[2 * PAGE / sizeof(uint64_t)];

	words[0] = (uintptr_t)unused;
	stand(words);
	return NULL;
}

static void live(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	if (pthread_attr_setstack(&attr, stack, STACK_BYTES) ||
	    pthread_create(&thread, &attr, run, NULL))
		_exit(1);
	while (!shared->tid)
		usleep(1000);
}

/* The word that leads into a stub is found, be its page present or not. */
static void check(bool is_absent)
{
	struct held_limbo limbo = { 0 };
	struct target *t;
	struct error err;
	pid_t pid;

	shared->tid = 0;
	shared->is_absent = is_absent;
	pid = child_start(live);
	assert_int_equal(target_open(pid, &t, &err), 0);
	assert_int_equal(held_is_out_of(t, &limbo, shared->tid, STUB, STUB + PAGE), 0);
	assert_int_equal(held_is_out_of(t, &limbo, shared->tid, STUB + PAGE, STUB + 2 * PAGE), 1);
	assert_int_equal(limbo.n, 0);
	target_close(t);
	child_end(pid);
}

static void present(void **state)
{
	(void)state;
	check(false);
}

static void absent(void **state)
{
	(void)state;
	check(true);
}

/* As Linux 6.18 prints it; no machine of ours has it. */
static void shadow_stacks(void **state)
{
	static const char start[] = "Name:\tcat\nSeccomp:\t0\n";
	static const struct {
		const char *lines;
		bool has;
	} cases[] = {
		{ "", false },
		{ "x86_Thread_features:\t\nx86_Thread_features_locked:\t\n", false },
		{ "x86_Thread_features:\tshstk \nx86_Thread_features_locked:\tshstk wrss \n",
		  true },
		{ "x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\t\n", true },
		{ "x86_Thread_features:\t\nx86_Thread_features_locked:\tshstk wrss \n", false },
		{ "x86_Thread_features:", false },
	};
	char status[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(status, sizeof(status), "%s%s", start, cases[i].lines);
		assert_int_equal(inject_has_shadow_stack(status), cases[i].has);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(shadow_stacks),
		cmocka_unit_test(present),
		cmocka_unit_test(absent),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	              0);
	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || stack == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
