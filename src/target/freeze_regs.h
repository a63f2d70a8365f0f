/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Make a stop invisible to the system call that it interrupted. The kernel
 * restarts most calls by itself after a stop (signal(7), "Interruption of
 * system calls and library functions by stop signals"); the calls listed in
 * freeze_regs.c return EINTR. Such a thread is sent back onto its syscall
 * instruction, which is harmless: a call that fails with EINTR has done
 * nothing. The surprising rule: if a signal with a handler arrives while the
 * thread stands still, EINTR was right after all and is put back.
 *
 * Limits: a finite timeout of those calls starts again at the first stop; when
 * it has passed since then, over however many stops, the call returns what it
 * does after its time (one on a socket, whose timeout is not known: EINTR after
 * a second), so that stops do not hold up a program's timers. A transfer
 * that was half done (write() of much to a full pipe, recv() with MSG_WAITALL)
 * returns the part, as after any stop. x86-64 only: arm64 does not show the
 * first argument of the interrupted call.
 */

#include <stdbool.h>
#include <sys/types.h>
#include <sys/user.h>

struct freeze_regs {
	bool looked_at, repaired;
#if defined(__x86_64__)
	struct user_regs_struct interrupted; /* as the kernel would have gone on */
#endif
};

/* Thread @tid, traced by the caller, has stopped; asked again of the same stop, it only answers
 * whether the thread still stands still. */
bool freeze_regs_stopped(pid_t tid, struct freeze_regs *r);
/* The registers at the stop; NULL: not known. */
const struct user_regs_struct *freeze_regs_of(const struct freeze_regs *r);
/* It is about to be let go. */
void freeze_regs_leave(pid_t tid, struct freeze_regs *r);
