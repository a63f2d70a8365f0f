/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Stop all threads of a target for a moment, and let them go as if nothing had
 * happened. The surprising rule: stopping a thread inside a system call can
 * make the call return early (EINTR); which calls, and how the registers are
 * repaired, is in freeze_regs.h. When memwho dies, the kernel lets the threads
 * go: they were repaired when they stopped, not when they leave.
 *
 * A process that a signal had stopped stays stopped. Signals that come while it
 * stands still are delivered afterwards. A thread of memwho's own does the
 * tracing, so a freeze may be released from any thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/error.h"
#include "target/target.h"

struct freeze;

/* Bounded by @timeout_ms; threads that come meanwhile are stopped, too. Refused with its own
 * sentence: traced by somebody else (-EBUSY), no permission (-EPERM), a thread that cannot be
 * stopped in time (-ETIMEDOUT; everything runs again then), ended (-ESRCH). */
int freeze_target(const struct target *t, unsigned timeout_ms, struct freeze **ret,
                  struct error *err);
/* Let it run; it does when this returns. NULL is fine; returns NULL. */
struct freeze *freeze_release(struct freeze *f);
void freeze_releasep(struct freeze **f);

struct freeze_work {
	/* May be NULL. Each thread is looked at as soon as it stands, with the registers that it
	 * stopped with; others may run still. Below zero: all are let go, and that is returned. */
	int (*look)(void *arg, pid_t tid, const struct user_regs_struct *regs, struct error *err);
	/* When all stand. */
	int (*work)(void *arg, struct error *err);
	void *arg;
	/* 0: as long as the timeout. When all do not stand by then, those who do are let go, and it
	 * is -EAGAIN as soon as the others have answered, too. */
	unsigned patience_us;
};
/* Do @work while the target stands still, in the thread that stops it: the shortest stop there is,
 * because nobody has to be woken. *ret_ns: how long it stood still, from the first that was asked
 * to stop until the last was let go. What it returns is returned (with *err as it left it); refused
 * as above, @work is not called. */
int freeze_call(const struct target *t, unsigned timeout_ms, const struct freeze_work *work,
                uint64_t *ret_ns, struct error *err);
/* Call @fn with the registers of each thread that stands still, as it will go on; non-zero ends it
 * and is returned. None on machines other than x86-64. Of one that waits in a system call they are
 * those of the call, which may have been sent back to its instruction (freeze_regs.h). */
int freeze_each_thread(const struct freeze *f,
                       int (*fn)(void *arg, pid_t tid, const struct user_regs_struct *regs),
                       void *arg);
/* How long the target stood still so far, from the first thread's stop on. */
uint64_t freeze_ns(const struct freeze *f);
