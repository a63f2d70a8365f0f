/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/freeze_regs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "target/proc.h"

#if defined(__x86_64__)

enum {
	SYSCALL_BYTES = 2, /* 0f 05 */
	STATUS_MAX_BYTES = 1 << 16,
};

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

/* Is a signal on its way that a handler of the thread will see? */
static bool handler_will_run(pid_t tid)
{
	cleanup_free char *status = NULL;
	uint64_t pending;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", tid); /* of a thread, too (proc(5)) */
	if (proc_read(AT_FDCWD, path, STATUS_MAX_BYTES, &status, NULL) < 0)
		return false;
	pending = mask_of(status, "SigPnd") | mask_of(status, "ShdPnd");
	return pending & ~mask_of(status, "SigBlk") & mask_of(status, "SigCgt");
}

bool freeze_regs_stopped(pid_t tid, struct freeze_regs *r)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0) {
		r->repaired = false;
		return false;
	}
	if (r->repaired || (int64_t)regs.rax != -EINTR || !is_listed(regs.orig_rax) ||
	    handler_will_run(tid))
		return true;
	r->interrupted = regs;
	regs.rax = regs.orig_rax;
	regs.rip -= SYSCALL_BYTES;
	regs.orig_rax = -1; /* not in a call: the kernel is to restart nothing itself */
	r->repaired = ptrace(PTRACE_SETREGS, tid, NULL, &regs) == 0;
	return true;
}

void freeze_regs_leave(pid_t tid, struct freeze_regs *r)
{
	if (r->repaired && handler_will_run(tid))
		ptrace(PTRACE_SETREGS, tid, NULL, &r->interrupted);
	r->repaired = false;
}

#else

bool freeze_regs_stopped(pid_t tid, struct freeze_regs *r)
{
	unsigned long message;

	return ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message) == 0;
}

void freeze_regs_leave(pid_t tid, struct freeze_regs *r)
{
}

#endif
