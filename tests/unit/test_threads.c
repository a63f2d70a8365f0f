/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "target/maps.h"
#include "target/target.h"
#include "target/threads.h"

enum { N = 5, RUNS = 3, OWN_STACK = 4, MIB = 1 << 20 };

/* What a child knows of its threads, in memory that we share. Thread RUNS never
 * enters the kernel; the stack of OWN_STACK was made by the program. */
struct known {
	pid_t tid;
	uint64_t self, stack_start, stack_end;
};
static struct known *known;
static pid_t child;
static struct target *t;
static pthread_barrier_t barrier;

static void tell(struct known *k)
{
	pthread_attr_t attr;
	size_t bytes;
	void *at;

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &at, &bytes);
	k->tid = (pid_t)syscall(SYS_gettid);
	k->self = (uint64_t)pthread_self();
	k->stack_start = (uint64_t)at;
	k->stack_end = (uint64_t)at + bytes;
}

static void *thread(void *arg)
{
	struct known *k = arg;
	volatile uint64_t spin = 0;

	prctl(PR_SET_NAME, k == &known[0] ? "a\nb) R 1" : "plain");
	tell(k);
	pthread_barrier_wait(&barrier);
	while (k == &known[RUNS])
		spin++;
	for (;;)
		pause();
	return NULL;
}

static void child_live(int ready_fd)
{
	pthread_attr_t attr;
	pthread_t id;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pthread_barrier_init(&barrier, NULL, N + 1);
	for (int i = 0; i < N; i++) {
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, MIB);
		if (i == OWN_STACK)
			pthread_attr_setstack(&attr,
			                      mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE,
			                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			                      2 * MIB);
		if (pthread_create(&id, &attr, thread, &known[i]))
			_exit(1);
	}
	pthread_barrier_wait(&barrier);
	tell(&known[N]);
	if (write(ready_fd, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static int setup(void **state)
{
	struct error err = { 0 };
	int ready[2];
	char c;

	known = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (!child)
		child_live(ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return target_open(child, &t, &err);
}

static int teardown(void **state)
{
	target_close(t);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}

static const struct thread *find(const struct threads *all, pid_t tid)
{
	for (size_t i = 0; i < all->n_items; i++) {
		if (all->items[i].tid == tid)
			return &all->items[i];
	}
	return NULL;
}

static void test_all_threads(void **state)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(threads_clear) struct threads all = { 0 };
	struct error err = { 0 };

	assert_int_equal(maps_read(t, &maps, &err), 0);
	assert_int_equal(threads_read(t, &maps, &all, &err), 0);
	assert_int_equal(all.n_items, N + 1);
	for (int i = 0; i <= N; i++) {
		const struct thread *th = find(&all, known[i].tid);

		assert_non_null(th);
		assert_int_equal(th->ns_tid, known[i].tid);
		assert_int_equal(th->tcb, known[i].self);
		if (i != RUNS) {
			assert_true(th->sp >= known[i].stack_start && th->sp < known[i].stack_end);
			assert_ptr_equal(threads_find(&all, th->sp), th);
		}
		if (i < N) { /* the first thread's is what maps calls [stack] */
			assert_int_equal(th->stack_start, known[i].stack_start);
			assert_int_equal(th->stack_end, known[i].stack_end);
		}
	}
	assert_string_equal(find(&all, known[0].tid)->comm, "a\nb) R 1");
	assert_true(find(&all, known[1].tid)->guard_bytes > 0);
	assert_int_equal(find(&all, known[OWN_STACK].tid)->guard_bytes, 0);
	assert_true(all.n_running <= 1);
}

static void test_first_thread(void **state)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(threads_clear) struct threads all = { 0 };
	struct error err = { 0 };
	const struct mapping *m;

	assert_int_equal(maps_read(t, &maps, &err), 0);
	assert_int_equal(threads_read(t, &maps, &all, &err), 0);
	m = maps_find(&maps, find(&all, child)->stack_start);
	assert_non_null(m);
	assert_string_equal(m->name, "[stack]");
	assert_int_equal(find(&all, child)->stack_end, m->end);
	assert_null(threads_find(&all, 4096));
}

static void test_ended(void **state)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(threads_clear) struct threads all = { 0 };
	struct error err = { 0 };
	struct target *other;
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	assert_int_equal(target_open(pid, &other, &err), 0);
	assert_int_equal(maps_read(other, &maps, &err), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(threads_read(other, &maps, &all, &err), -ESRCH);
	assert_non_null(strstr(err.message, "has ended"));
	target_close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_threads),
		cmocka_unit_test(test_first_thread),
		cmocka_unit_test(test_ended),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
