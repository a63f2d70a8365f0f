/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/freeze.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/precedence.h"
#include "base/steps.h"
#include "base/thread.h"
#include "target/freeze_regs.h"
#include "target/permission.h"
#include "target/proc.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

enum {
	FIRST_PAUSE_NS = 20000,
	SHORT_PAUSE_NS = 100000, /* at most, while most threads should come to stand */
	SHORT_NS = 5000000,
	MAX_PAUSE_NS = 500000,
	ENDED_NS = 1000000, /* so often threads that do not stop are looked up in /proc */
	SEIZE_TRIES = 3,
	STATUS_MAX_BYTES = 1 << 16,
	SLACK_NS = 1, /* of the tracing thread's sleeps; 50 us is what a thread has */
};

struct frozen {
	pid_t tid;
	bool stopped, gone; /* gone: it has ended, or was let go */
	struct freeze_regs regs;
};

struct freeze {
	const struct target *target;
	uint64_t deadline_ns, since_ns; /* since_ns 0: nobody was asked to stop yet */
	struct frozen *threads;         /* by tid */
	size_t n, cap;
	pthread_t tracer;
	sem_t stopped, release;
	uint64_t looked_ns;             /* for threads that have ended */
	const struct freeze_work *work; /* NULL: until release is posted */
	uint64_t stood_ns;              /* when the last was let go */
	bool was_stopped;
	int refused; /* by look() */
	int result;
	struct error *err; /* of the one who waits */
};

static int by_tid(const void *a, const void *b)
{
	pid_t x = ((const struct frozen *)a)->tid, y = ((const struct frozen *)b)->tid;

	return (x > y) - (x < y);
}

static char *task_status(const struct target *t, pid_t tid)
{
	char name[48], *text = NULL;

	snprintf(name, sizeof(name), "task/%d/status", tid);
	return proc_read(t->proc_fd, name, STATUS_MAX_BYTES, &text, NULL) < 0 ? NULL : text;
}

/* State letter of /proc; 'X' for one that is not there any more. */
static char state_of(const struct target *t, pid_t tid)
{
	cleanup_free char *status = task_status(t, tid);
	const char *state = status ? proc_status_line(status, "State") : NULL;

	return state ? *state : 'X';
}

static bool has_ended(const struct target *t, pid_t tid)
{
	char state = state_of(t, tid);

	return state == 'Z' || state == 'X';
}

static pid_t tracer_of(const struct target *t, pid_t tid)
{
	cleanup_free char *status = task_status(t, tid);
	const char *tracer = status ? proc_status_line(status, "TracerPid") : NULL;

	return tracer ? (pid_t)strtol(tracer, NULL, 10) : 0;
}

static int refused(const struct target *t, pid_t tid, int errnum, struct error *err)
{
	pid_t tracer = tracer_of(t, tid);

	if (tracer > 0) {
		error_set(err, EBUSY,
		          "process %d cannot be stopped: process %d traces it (a debugger, "
		          "strace)",
		          t->pid, tracer);
		return error_hint(err, "only one can trace a process at a time");
	}
	permission_explain(t->pid, t->proc_fd, PERMISSION_ATTACH, errnum, err);
	return error_context(err, "process %d cannot be stopped", t->pid);
}

/* 1 seized, 0 it has ended meanwhile, -1 not, for the reason in *errnum. */
static int try_seize(const struct target *t, pid_t tid, int *errnum)
{
	steps_before("seize");
	/* no PTRACE_O_EXITKILL: when we die it is to live on */
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0)
		return 1;
	*errnum = errno;
	if (*errnum == ESRCH || has_ended(t, tid)) /* the kernel says EPERM for a zombie */
		return 0;
	return tracer_of(t, tid) == gettid() ? 1 : -1; /* it took this number over in an exec */
}

/* -EPERM is also what one in the middle of an exec gets: asked again. */
static int seize(const struct target *t, pid_t tid, struct error *err)
{
	int errnum = 0;

	for (unsigned i = 0; i < SEIZE_TRIES; i++) {
		int r = try_seize(t, tid, &errnum);

		if (r >= 0)
			return r;
		nanosleep(&(struct timespec){ 0, MAX_PAUSE_NS }, NULL);
	}
	return refused(t, tid, errnum, err);
}

static void drop_gone(struct freeze *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		if (!f->threads[i].gone)
			f->threads[n++] = f->threads[i];
	f->n = n;
}

/* Seize the threads that are not ours yet. 1: there were some. */
static int seize_new(struct freeze *f)
{
	cleanup_free pid_t *tids = NULL;
	size_t n_tids, n_known;
	int r = target_threads(f->target, &tids, &n_tids, f->err);

	drop_gone(f);
	n_known = f->n;

	for (size_t i = 0; i < n_tids && r >= 0; i++) {
		struct frozen new = { .tid = tids[i] };

		if (n_known && bsearch(&new, f->threads, n_known, sizeof(new), by_tid))
			continue;
		r = array_reserve(&f->threads, &f->cap, f->n + 1, f->err);
		if (r == 0)
			r = seize(f->target, tids[i], f->err);
		if (r > 0)
			f->threads[f->n++] = new;
	}
	/* the number could be somebody else's by now */
	if (r >= 0 && target_alive(f->target) < 0)
		return error_set(f->err, ESRCH, "process %d has ended", f->target->pid);
	return r < 0 ? r : f->n > n_known;
}

static void interrupt_new(struct freeze *f)
{
	f->looked_ns = clock_now_ns();
	if (!f->since_ns)
		f->since_ns = f->looked_ns;
	for (size_t i = 0; i < f->n; i++)
		if (!f->threads[i].stopped && !f->threads[i].gone) {
			steps_before("interrupt");
			ptrace(PTRACE_INTERRUPT, f->threads[i].tid, NULL, NULL);
		}
	qsort(f->threads, f->n, sizeof(*f->threads), by_tid);
}

/* While the others come to stand: at the end there is the less to do. */
static void look_at(struct freeze *f, const struct frozen *x)
{
	const struct user_regs_struct *regs = freeze_regs_of(&x->regs);

	if (f->work && f->work->look && regs && f->refused == 0)
		f->refused = f->work->look(f->work->arg, x->tid, regs, f->err);
}

/* A stop with a signal that is being delivered: let it be. Any stop clears the request for ours
 * (ptrace_stop() in the kernel), so it is made again; it comes before the next signal. */
static void take_stop(struct freeze *f, struct frozen *x, int status)
{
	if (status >> 8 == PTRACE_EVENT_STOP) {
		x->stopped = freeze_regs_stopped(x->tid, &x->regs);
		if (x->stopped)
			look_at(f, x);
		return;
	}
	ptrace(PTRACE_CONT, x->tid, NULL, (void *)(long)(status & 0xff));
	ptrace(PTRACE_INTERRUPT, x->tid, NULL, NULL);
}

static struct frozen *find_frozen(const struct freeze *f, pid_t tid)
{
	const struct frozen x = { .tid = tid };

	return f->n ? bsearch(&x, f->threads, f->n, sizeof(x), by_tid) : NULL;
}

/* Take all stops that there are, without waiting. One question for all: while they come in, the
 * others stand still, and each of ours takes the processor from the threads that are to stop. */
static void take_stops(struct freeze *f)
{
	const int how = WNOHANG | __WALL | __WNOTHREAD | WSTOPPED;
	struct frozen *x;

	/* bounded: threads to which signals are delivered stop more than once */
	for (size_t i = 0; i < 4 * f->n + 64; i++) {
		siginfo_t info = { 0 };

		if (waitid(P_ALL, 0, &info, how) < 0 || !info.si_pid)
			return;
		x = find_frozen(f, info.si_pid);
		if (x && !x->stopped && !x->gone)
			take_stop(f, x, info.si_status);
	}
}

/* Its end is left for its parent, who may be ourselves, to collect. */
static void find_gone(struct freeze *f)
{
	const int how = WNOHANG | WNOWAIT | __WALL | __WNOTHREAD | WSTOPPED;
	const uint64_t now = clock_now_ns();

	if (now - f->looked_ns < ENDED_NS)
		return;
	f->looked_ns = now;
	for (size_t i = 0; i < f->n; i++) {
		struct frozen *x = &f->threads[i];
		siginfo_t info = { 0 };

		if (x->stopped || x->gone)
			continue;
		if (waitid(P_PID, (id_t)x->tid, &info, how) < 0)
			x->gone = errno == ECHILD;
		else if (!info.si_pid)
			x->gone = has_ended(f->target, x->tid);
	}
}

static size_t n_running(const struct freeze *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += !f->threads[i].stopped && !f->threads[i].gone;
	return n;
}

static size_t poll_all(struct freeze *f)
{
	take_stops(f);
	if (n_running(f))
		find_gone(f);
	return n_running(f);
}

static int too_late(const struct freeze *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct frozen *x = &f->threads[i];
		char state;

		if (x->stopped || x->gone)
			continue;
		state = state_of(f->target, x->tid);
		error_set(f->err, ETIMEDOUT,
		          "process %d was not stopped in time: thread %d is in state %c",
		          f->target->pid, x->tid, state);
		if (state == 'D')
			error_hint(f->err, "it waits in the kernel (a slow disk, a vfork child, a "
			                   "frozen cgroup)");
		return f->err->code;
	}
	return error_set(f->err, ETIMEDOUT,
	                 "process %d starts threads faster than they can be stopped",
	                 f->target->pid);
}

static void let_go(struct freeze *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct frozen *x = &f->threads[i];

		if (!x->stopped)
			continue;
		steps_before("let go");
		freeze_regs_leave(x->tid, &x->regs);
		ptrace(PTRACE_DETACH, x->tid, NULL, NULL);
		x->stopped = false;
		x->gone = true;
	}
	if (!f->stood_ns && f->since_ns)
		f->stood_ns = freeze_ns(f);
}

/* The others are not to stand still for one of them that comes late. It is waited for all the same:
 * it has been asked, and an interrupted call of its has to be repaired when it stops. */
static int back_off(struct freeze *f)
{
	const int r = f->refused ? f->refused
	                         : error_set(f->err, EAGAIN,
	                                     "threads of process %d did not stop at once",
	                                     f->target->pid);

	for (let_go(f); poll_all(f); let_go(f)) {
		if (clock_now_ns() > f->deadline_ns)
			return too_late(f);
		steps_before("wait");
		nanosleep(&(struct timespec){ 0, SHORT_PAUSE_NS }, NULL);
	}
	return r;
}

static bool is_too_long(const struct freeze *f)
{
	return f->refused || (f->work && f->work->patience_us &&
	                      freeze_ns(f) > f->work->patience_us * UINT64_C(1000));
}

static int wait_stopped(struct freeze *f)
{
	struct timespec pause = { 0, FIRST_PAUSE_NS };

	while (poll_all(f)) {
		if (is_too_long(f))
			return back_off(f);
		if (clock_now_ns() > f->deadline_ns)
			return too_late(f);
		steps_before("wait");
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < (freeze_ns(f) < SHORT_NS ? SHORT_PAUSE_NS : MAX_PAUSE_NS))
			pause.tv_nsec *= 2;
	}
	return f->refused;
}

/* An exec gives another thread the number of the first one: all must answer at the end. */
static bool all_answer(struct freeze *f)
{
	bool all = true;

	for (size_t i = 0; i < f->n; i++) {
		struct frozen *x = &f->threads[i];

		if (!x->stopped)
			continue;
		x->stopped = freeze_regs_stopped(x->tid, &x->regs);
		all = all && x->stopped;
	}
	return all;
}

/* The list is whole when nobody new is on it while all that were known stand still. */
static int stop_all(struct freeze *f)
{
	for (;;) {
		int r = seize_new(f);

		if (r == 0 && all_answer(f))
			return f->n ? 0
			            : error_set(f->err, ESRCH, "process %d has ended",
			                        f->target->pid);
		if (r < 0)
			return r;
		interrupt_new(f);
		r = wait_stopped(f);
		if (r < 0)
			return r;
		if (clock_now_ns() > f->deadline_ns)
			return too_late(f);
	}
}

static void stand_still(struct freeze *f)
{
	f->was_stopped = true;
	if (f->work) {
		f->result = f->work->work ? f->work->work(f->work->arg, f->err) : 0;
		return;
	}
	sem_post(&f->stopped);
	while (sem_wait(&f->release) < 0)
		;
}

/* The end of this thread also lets go what it could not stop in time: the kernel takes the
 * request to stop back with the tracer. */
static void *trace(void *arg)
{
	struct freeze *f = arg;

	prctl(PR_SET_TIMERSLACK, SLACK_NS);
	/* above all before those that it lets go, until it comes to the last of them */
	precedence_take(NULL);
	f->result = stop_all(f);
	if (f->result == 0)
		stand_still(f);
	let_go(f);
	if (!f->was_stopped)
		sem_post(&f->stopped);
	return NULL;
}

static void freeze_free(struct freeze *f)
{
	sem_destroy(&f->stopped);
	sem_destroy(&f->release);
	free(f->threads);
	free(f);
}

static int start_tracer(struct freeze *f, struct error *err)
{
	const int r = thread_start(&f->tracer, trace, f);

	return r ? error_sys(err, r, "no thread to stop process %d from", f->target->pid) : 0;
}

static int freeze_new(const struct target *t, unsigned timeout_ms, struct freeze **ret,
                      struct error *err)
{
	struct freeze *f;

	if (t->pid == getpid())
		return error_set(err, EINVAL, "memwho cannot stop itself");
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_oom(err);
	f->target = t;
	f->err = err;
	f->deadline_ns = clock_now_ns() + timeout_ms * UINT64_C(1000000);
	sem_init(&f->stopped, 0, 0);
	sem_init(&f->release, 0, 0);
	*ret = f;
	return 0;
}

int freeze_target(const struct target *t, unsigned timeout_ms, struct freeze **ret,
                  struct error *err)
{
	struct freeze *f;
	int r = freeze_new(t, timeout_ms, &f, err);

	if (r < 0)
		return r;
	r = start_tracer(f, err);
	if (r == 0) {
		while (sem_wait(&f->stopped) < 0)
			;
		if (!f->was_stopped) {
			pthread_join(f->tracer, NULL);
			r = f->result;
		}
	}
	if (r < 0) {
		freeze_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

int freeze_call(const struct target *t, unsigned timeout_ms, const struct freeze_work *work,
                uint64_t *ret_ns, struct error *err)
{
	struct freeze *f;
	int r = freeze_new(t, timeout_ms, &f, err);

	if (r < 0)
		return r;
	f->work = work;
	r = start_tracer(f, err);
	if (r == 0) {
		pthread_join(f->tracer, NULL);
		r = f->result;
		*ret_ns = f->stood_ns;
	}
	freeze_free(f);
	return r;
}

struct freeze *freeze_release(struct freeze *f)
{
	if (!f)
		return NULL;
	sem_post(&f->release);
	pthread_join(f->tracer, NULL);
	freeze_free(f);
	return NULL;
}

void freeze_releasep(struct freeze **f)
{
	*f = freeze_release(*f);
}

int freeze_each_thread(const struct freeze *f,
                       int (*fn)(void *arg, pid_t tid, const struct user_regs_struct *regs),
                       void *arg)
{
	int r = 0;

	/* they were kept when each stopped: only the tracer could ask now */
	for (size_t i = 0; r == 0 && i < f->n; i++) {
		const struct user_regs_struct *regs = freeze_regs_of(&f->threads[i].regs);

		if (f->threads[i].stopped && regs)
			r = fn(arg, f->threads[i].tid, regs);
	}
	return r;
}

uint64_t freeze_ns(const struct freeze *f)
{
	return clock_now_ns() - f->since_ns;
}
