/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/freeze_regs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "target/proc.h"

#if defined(__x86_64__)

enum {
	SYSCALL_BYTES = 2, /* 0f 05 */
	STATUS_MAX_BYTES = 1 << 16,
	MAX_IDLE_RUN_NS = 500000,
	URING_EXT_ARG = 1 << 3, /* IORING_ENTER_EXT_ARG: a timeout behind a pointer */
};

static const uint64_t forever = UINT64_MAX, some_time = 1000000000;

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

/* Calls that return EINTR after a stop, whatever the disposition of signals: signal(7), and each
 * tried (project facts, agent-safety 3). The transfers do so on a socket with SO_RCVTIMEO or
 * SO_SNDTIMEO. */
static const uint16_t calls[] = {
	SYS_epoll_wait,      SYS_epoll_pwait,  SYS_epoll_pwait2,  SYS_semop,
	SYS_semtimedop,      SYS_io_getevents, SYS_io_pgetevents, SYS_io_uring_enter,
	SYS_rt_sigtimedwait, SYS_read,         SYS_readv,         SYS_recvfrom,
	SYS_recvmsg,         SYS_recvmmsg,     SYS_accept,        SYS_accept4,
	SYS_write,           SYS_writev,       SYS_sendto,        SYS_sendmsg,
	SYS_sendmmsg,        SYS_connect,
};

static bool is_listed(uint64_t call)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i] == call)
			return true;
	return false;
}

static uint64_t mask_of(const char *status, const char *key)
{
	const char *text = proc_status_line(status, key);

	return text ? strtoull(text, NULL, 16) : 0;
}

static char *read_status(pid_t tid)
{
	char path[64], *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/status", tid); /* of a thread, too (proc(5)) */
	return proc_read(AT_FDCWD, path, STATUS_MAX_BYTES, &text, NULL) < 0 ? NULL : text;
}

/* Is a signal on its way that a handler of the thread will see? */
static bool handler_will_run(const char *status)
{
	const uint64_t pending = mask_of(status, "SigPnd") | mask_of(status, "ShdPnd");

	return pending & ~mask_of(status, "SigBlk") & mask_of(status, "SigCgt");
}

/* The timespec at @at in the thread. */
static uint64_t timespec_ns(pid_t tid, uint64_t at)
{
	uint64_t w[2];

	if (!at)
		return forever;
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		errno = 0;
		w[i] = ptrace(PTRACE_PEEKDATA, tid, (void *)(at + i * sizeof(w[i])), NULL);
		if (errno)
			return some_time;
	}
	return w[0] < 1000000000 ? w[0] * 1000000000 + w[1] : forever;
}

static uint64_t timeout_ns(pid_t tid, const struct user_regs_struct *r)
{
	switch (r->orig_rax) {
	case SYS_semop: return forever;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return (int32_t)r->r10 < 0 ? forever : (uint64_t)(int32_t)r->r10 * 1000000;
	case SYS_epoll_pwait2:
	case SYS_semtimedop: return timespec_ns(tid, r->r10);
	case SYS_io_getevents:
	case SYS_io_pgetevents:
	case SYS_recvmmsg: return timespec_ns(tid, r->r8);
	case SYS_rt_sigtimedwait: return timespec_ns(tid, r->rdx);
	case SYS_io_uring_enter: return r->r10 & URING_EXT_ARG ? some_time : forever;
	default: return some_time; /* the socket's */
	}
}

/* Calls with a timeout that were sent back, by thread; the newest replaces what is in its place. */
static struct sent_back {
	pid_t tid;
	uint64_t call, at, stack, first_ns, switches, ran_ns;
} sent_back[256];
static pthread_mutex_t sent_back_lock = PTHREAD_MUTEX_INITIALIZER;

/* Processor time of the thread; 0: not known. */
static uint64_t ran_ns(pid_t tid)
{
	cleanup_free char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", tid, tid);
	return proc_read(AT_FDCWD, path, 4096, &text, NULL) < 0 ? 0 : strtoull(text, NULL, 10);
}

/*
 * Still the call that was sent back before? The thread has then slept twice
 * since at most, in the call and for us, and has not worked.
 */
static bool is_same(const struct sent_back *x, const struct sent_back *now)
{
	return x->tid == now->tid && x->call == now->call && x->at == now->at &&
	       x->stack == now->stack && now->switches - x->switches <= 2 && now->ran_ns &&
	       now->ran_ns - x->ran_ns < MAX_IDLE_RUN_NS;
}

/* Has the timeout of an interrupted call passed since it was first sent back? */
static bool has_timed_out(pid_t tid, const struct user_regs_struct *r, const char *status)
{
	const char *text = proc_status_line(status, "voluntary_ctxt_switches");
	struct sent_back now = { tid,        r->orig_rax,    r->rip,
		                 r->rsp,     clock_now_ns(), text ? strtoull(text, NULL, 10) : 0,
		                 ran_ns(tid) };
	struct sent_back *x = &sent_back[(unsigned)tid % ARRAY_SIZE(sent_back)];
	const uint64_t limit = timeout_ns(tid, r), now_ns = now.first_ns;
	bool over;

	if (limit == forever)
		return false;
	pthread_mutex_lock(&sent_back_lock);
	if (is_same(x, &now))
		now.first_ns = x->first_ns;
	over = now_ns - now.first_ns >= limit;
	*x = over ? (struct sent_back){ 0 } : now;
	pthread_mutex_unlock(&sent_back_lock);
	return over;
}

/* What a call returns that has waited for its whole timeout; a socket's is not known. */
static int64_t timed_out(uint64_t call)
{
	switch (call) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_io_getevents:
	case SYS_io_pgetevents: return 0;
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait: return -EAGAIN;
	default: return -EINTR;
	}
}

/* The thread is to go on with @r. False: as it is. */
static bool repair(pid_t tid, struct user_regs_struct *r)
{
	cleanup_free char *status = NULL;

	if ((int64_t)r->rax != -EINTR || !is_listed(r->orig_rax))
		return false;
	status = read_status(tid);
	if (!status || handler_will_run(status))
		return false;
	if (has_timed_out(tid, r, status)) {
		r->rax = timed_out(r->orig_rax);
	} else {
		r->rax = r->orig_rax;
		r->rip -= SYSCALL_BYTES;
	}
	r->orig_rax = -1; /* not in a call: the kernel is to restart nothing itself */
	return true;
}

bool freeze_regs_stopped(pid_t tid, struct freeze_regs *r)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0) {
		*r = (struct freeze_regs){ 0 };
		return false;
	}
	if (r->looked_at)
		return true;
	r->looked_at = true;
	r->interrupted = regs;
	if (repair(tid, &regs))
		r->repaired = ptrace(PTRACE_SETREGS, tid, NULL, &regs) == 0;
	return true;
}

const struct user_regs_struct *freeze_regs_of(const struct freeze_regs *r)
{
	return r->looked_at ? &r->interrupted : NULL;
}

void freeze_regs_leave(pid_t tid, struct freeze_regs *r)
{
	cleanup_free char *status = r->repaired ? read_status(tid) : NULL;

	if (status && handler_will_run(status))
		ptrace(PTRACE_SETREGS, tid, NULL, &r->interrupted);
	r->repaired = false;
}

#else

bool freeze_regs_stopped(pid_t tid, struct freeze_regs *r)
{
	unsigned long message;

	return ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message) == 0;
}

const struct user_regs_struct *freeze_regs_of(const struct freeze_regs *r)
{
	return NULL;
}

void freeze_regs_leave(pid_t tid, struct freeze_regs *r)
{
}

#endif
