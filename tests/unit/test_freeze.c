/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "target/freeze.h"
#include "target/target.h"

enum { THREADS = 64, TIMERS = 16, TIMEOUT_MS = 5000 };

/* What the child counts, seen from here without looking into it. */
static struct {
	volatile uint64_t work[THREADS];
	volatile uint64_t started, handled;
	volatile pid_t inner;
} * shared;

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static pid_t child_new(void (*live)(void))
{
	pid_t pid;

	memset(shared, 0, sizeof(*shared));
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		live();
		_exit(0);
	}
	return pid;
}

static void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static struct target *open_target(pid_t pid)
{
	struct target *t;
	struct error err = { 0 };

	if (target_open(pid, &t, &err) < 0)
		fail_msg("%s", err.message);
	return t;
}

static struct freeze *freeze_it(const struct target *t)
{
	struct freeze *f;
	struct error err = { 0 };

	if (freeze_target(t, TIMEOUT_MS, &f, &err) < 0)
		fail_msg("%s", err.message);
	return f;
}

static uint64_t total_work(void)
{
	uint64_t sum = shared->started;

	for (int i = 0; i < THREADS; i++)
		sum += shared->work[i];
	return sum;
}

static bool works_within(uint64_t than, long ms)
{
	for (long i = 0; i < ms && total_work() == than; i++)
		sleep_ms(1);
	return total_work() != than;
}

static bool wait_for(volatile uint64_t *counter, uint64_t at_least)
{
	for (int i = 0; i < 5000 && *counter < at_least; i++)
		sleep_ms(1);
	return *counter >= at_least;
}

static void *work(void *arg)
{
	volatile uint64_t *mine = arg;

	__atomic_fetch_add(&shared->started, 1, __ATOMIC_SEQ_CST);
	for (;;)
		++*mine;
	return NULL;
}

static void live_busy(void)
{
	pthread_t thread;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread, NULL, work, (void *)&shared->work[i]);
	for (;;)
		pause();
}

static void check_stands_still(const struct target *t)
{
	struct freeze *f = freeze_it(t);
	uint64_t before = total_work();

	sleep_ms(2);
	assert_int_equal(total_work(), before);
	assert_true(freeze_ns(f) >= 2000000);
	freeze_release(f);
	assert_true(works_within(before, 1000));
}

static void test_64_busy_threads(void **state)
{
	pid_t pid = child_new(live_busy);
	cleanup(target_closep) struct target *t = open_target(pid);

	assert_true(wait_for(&shared->started, THREADS));
	for (int i = 0; i < 8; i++)
		check_stands_still(t);
	child_end(pid);
}

static void *short_life(void *arg)
{
	__atomic_fetch_add(&shared->started, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Threads that live for microseconds, made by two others without end. */
static void *make_threads(void *arg)
{
	pthread_t thread;

	for (;;)
		if (pthread_create(&thread, NULL, short_life, NULL) == 0)
			pthread_join(thread, NULL);
	return NULL;
}

static void live_spawning(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, make_threads, NULL);
	make_threads(NULL);
}

static void test_threads_that_come_and_go(void **state)
{
	pid_t pid = child_new(live_spawning);
	cleanup(target_closep) struct target *t = open_target(pid);

	assert_true(wait_for(&shared->started, 10));
	for (int i = 0; i < 100; i++)
		check_stands_still(t);
	child_end(pid);
}

static char state_of(pid_t pid)
{
	char path[64], text[512], *at;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 'X';
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	at = strrchr(text, ')');
	return at ? at[2] : '?';
}

static bool becomes(pid_t pid, char state)
{
	for (int i = 0; i < 2000 && state_of(pid) != state; i++)
		sleep_ms(1);
	return state_of(pid) == state;
}

/* Stopped by a signal: stays so, tells its parent nothing new, goes on at SIGCONT only. */
static void test_one_that_a_signal_stopped(void **state)
{
	pid_t pid = child_new(live_busy);
	cleanup(target_closep) struct target *t = open_target(pid);
	uint64_t before;
	int status;

	assert_true(wait_for(&shared->started, THREADS));
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	before = total_work();
	for (int i = 0; i < 20; i++) {
		struct freeze *f = freeze_it(t);

		freeze_release(f);
		assert_true(becomes(pid, 'T'));
		assert_int_equal(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG), 0);
	}
	sleep_ms(20);
	assert_int_equal(total_work(), before);
	kill(pid, SIGCONT);
	assert_true(works_within(before, 1000));
	assert_int_equal(waitpid(pid, &status, WCONTINUED), pid);
	assert_true(WIFCONTINUED(status));
	child_end(pid);
}

/* Stop and continue that arrive while it is frozen take effect afterwards. */
static void test_stop_and_continue_during_a_freeze(void **state)
{
	pid_t pid = child_new(live_busy);
	cleanup(target_closep) struct target *t = open_target(pid);
	struct freeze *f;
	uint64_t before;

	assert_true(wait_for(&shared->started, THREADS));
	f = freeze_it(t);
	kill(pid, SIGSTOP);
	sleep_ms(5);
	freeze_release(f);
	assert_true(becomes(pid, 'T'));
	before = total_work();
	f = freeze_it(t);
	kill(pid, SIGCONT);
	sleep_ms(5);
	assert_int_equal(total_work(), before);
	freeze_release(f);
	assert_true(works_within(before, 1000));
	child_end(pid);
}

static void on_signal(int signal)
{
	shared->handled++;
}

static void live_handling(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGRTMIN, &action, NULL);
	shared->started = 1;
	work((void *)&shared->work[0]);
}

/* None is lost: real-time signals queue, so each one counts. */
static void test_signals_arrive(void **state)
{
	pid_t pid = child_new(live_handling);
	cleanup(target_closep) struct target *t = open_target(pid);
	uint64_t sent = 0;

	assert_true(wait_for(&shared->started, 1));
	for (int i = 0; i < 200; i++) {
		struct freeze *f;

		kill(pid, SIGRTMIN);
		sent++;
		f = freeze_it(t);
		kill(pid, SIGRTMIN);
		sent++;
		freeze_release(f);
		kill(pid, SIGRTMIN);
		sent++;
	}
	assert_true(wait_for(&shared->handled, sent));
	sleep_ms(5);
	assert_int_equal(shared->handled, sent);
	child_end(pid);
}

/* Sleeps, with a timer whose handler runs in this thread. */
static void *sleep_on(void *arg)
{
	struct sigevent e = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
	const struct itimerspec every = { { 0, 100000 }, { 0, 100000 } };
	timer_t timer;

	e._sigev_un._tid = gettid();
	timer_create(CLOCK_MONOTONIC, &e, &timer);
	timer_settime(timer, 0, &every, NULL);
	for (;;)
		pause();
	return NULL;
}

/* The kernel takes a timer's signal in two steps: a request to stop that comes in between is lost
 * with the stop for the signal (dequeue_signal(), ptrace_stop()). */
static void live_flooded(void)
{
	const struct sigaction action = { .sa_handler = on_signal };
	pthread_t thread;

	sigaction(SIGRTMIN, &action, NULL);
	for (int i = 0; i < TIMERS; i++)
		pthread_create(&thread, NULL, sleep_on, NULL);
	shared->started = 1;
	sleep_on(NULL);
}

static void test_a_flood_of_signals(void **state)
{
	pid_t pid = child_new(live_flooded);
	cleanup(target_closep) struct target *t = open_target(pid);
	uint64_t handled;

	assert_true(wait_for(&shared->started, 1));
	for (int i = 0; i < 300; i++)
		freeze_release(freeze_it(t));
	handled = shared->handled;
	assert_true(wait_for(&shared->handled, handled + 10));
	child_end(pid);
}

static void live_traced(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	shared->started = 1;
	work((void *)&shared->work[0]);
}

static void test_traced_by_another(void **state)
{
	pid_t pid = child_new(live_traced);
	cleanup(target_closep) struct target *t = open_target(pid);
	struct freeze *f = NULL;
	struct error err = { 0 };

	assert_true(wait_for(&shared->started, 1));
	assert_int_equal(freeze_target(t, 100, &f, &err), -EBUSY);
	assert_null(f);
	assert_non_null(strstr(err.message, "traces it"));
	assert_true(works_within(total_work(), 1000));
	child_end(pid);
}

/* A vfork parent cannot be stopped before its child has gone. */
static void live_vfork(void)
{
	shared->started = 1;
	shared->inner = vfork();
	if (shared->inner == 0) {
		shared->inner = getpid();
		sleep_ms(700);
		_exit(0);
	}
	work((void *)&shared->work[0]);
}

static void test_one_that_does_not_stop(void **state)
{
	pid_t pid = child_new(live_vfork);
	cleanup(target_closep) struct target *t = open_target(pid);
	struct freeze *f = NULL;
	struct error err = { 0 };
	uint64_t begun = clock_now_ns();

	assert_true(becomes(pid, 'D'));
	assert_int_equal(freeze_target(t, 100, &f, &err), -ETIMEDOUT);
	assert_null(f);
	assert_non_null(strstr(err.message, "state D"));
	assert_true(clock_now_ns() - begun < UINT64_C(600000000));
	/* nothing of the attempt is left when it comes out */
	assert_true(wait_for(&shared->work[0], 1));
	check_stands_still(t);
	child_end(pid);
}

/* The process that froze it is killed: it runs on, and can be frozen again. */
static void test_the_freezer_dies(void **state)
{
	pid_t pid = child_new(live_busy);
	cleanup(target_closep) struct target *t = open_target(pid);

	assert_true(wait_for(&shared->started, THREADS));
	for (int i = 0; i < 15; i++) {
		pid_t freezer = fork();
		uint64_t before;

		if (freezer == 0) {
			struct error err;
			struct freeze *f;

			for (;;)
				if (freeze_target(t, TIMEOUT_MS, &f, &err) == 0)
					freeze_release(f);
		}
		sleep_ms(5 + i % 7);
		kill(freezer, SIGKILL);
		waitpid(freezer, NULL, 0);
		before = total_work();
		assert_true(works_within(before, 2000));
	}
	check_stands_still(t);
	child_end(pid);
}

/* Ended by a signal that comes in the freeze; its parent learns how. */
static void test_killed_while_frozen(void **state)
{
	pid_t pid = child_new(live_busy);
	cleanup(target_closep) struct target *t = open_target(pid);
	struct freeze *f;
	struct error err = { 0 };
	int status;

	assert_true(wait_for(&shared->started, THREADS));
	f = freeze_it(t);
	kill(pid, SIGKILL);
	sleep_ms(5);
	freeze_release(f);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	f = NULL;
	assert_int_equal(freeze_target(t, 100, &f, &err), -ESRCH);
	assert_null(f);
}

/* Its first thread has ended, others work. (Such a target must have been opened before.) */
static void *end_first(void *arg)
{
	pthread_join(*(pthread_t *)arg, NULL);
	return work((void *)&shared->work[0]);
}

static void live_headless(void)
{
	static pthread_t self;
	pthread_t thread;

	self = pthread_self();
	sleep_ms(100);
	pthread_create(&thread, NULL, end_first, &self);
	pthread_exit(NULL);
}

static void test_first_thread_has_ended(void **state)
{
	pid_t pid = child_new(live_headless);
	cleanup(target_closep) struct target *t = open_target(pid);
	struct freeze *f = NULL;
	struct error err = { 0 };

	assert_true(wait_for(&shared->started, 1));
	assert_true(becomes(pid, 'Z'));
	/* its memory cannot be read either: refused, and it runs on */
	assert_int_equal(freeze_target(t, 100, &f, &err), -ESRCH);
	assert_true(works_within(total_work(), 1000));
	child_end(pid);
}

static void test_not_ourselves(void **state)
{
	cleanup(target_closep) struct target *t = open_target(getpid());
	struct freeze *f = NULL;
	struct error err = { 0 };

	assert_int_equal(freeze_target(t, 100, &f, &err), -EINVAL);
	assert_null(freeze_release(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_64_busy_threads),
		cmocka_unit_test(test_threads_that_come_and_go),
		cmocka_unit_test(test_one_that_a_signal_stopped),
		cmocka_unit_test(test_stop_and_continue_during_a_freeze),
		cmocka_unit_test(test_signals_arrive),
		cmocka_unit_test(test_a_flood_of_signals),
		cmocka_unit_test(test_traced_by_another),
		cmocka_unit_test(test_one_that_does_not_stop),
		cmocka_unit_test(test_the_freezer_dies),
		cmocka_unit_test(test_killed_while_frozen),
		cmocka_unit_test(test_first_thread_has_ended),
		cmocka_unit_test(test_not_ourselves),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	              0);
	if (shared == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
