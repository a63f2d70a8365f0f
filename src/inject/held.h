/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One stopped thread of a target, and the three ways to let it go: as if
 * nothing had been, into a stub (the commit), or back out of a stub that it has
 * not begun. The surprising rule: a thread that was asked to stop and did not in
 * time is not forgotten; it would stop later and for good. It stays in limbo
 * until it can be let go.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/error.h"
#include "target/freeze_regs.h"
#include "target/registers.h"
#include "target/target.h"

enum { HELD_MAX_LIMBO = 4096, HELD_STOP_MS = 1000 };

struct held_limbo {
	pid_t tids[HELD_MAX_LIMBO];
	size_t n;
	uint64_t n_ever;
};

struct held {
	pid_t tid;
	uint64_t asked_ns; /* clock_now_ns() when it was asked to stop */
	struct freeze_regs repair;
	struct user_regs_struct regs; /* as it was found, an interrupted call repaired */
	/* what it must go on with after a stub: an interrupted call restarted and an
	 * rseq section aborted by hand, because the kernel forgets both when the pc
	 * is moved */
	struct user_regs_struct back;
};

/* State letter of /proc/PID/task/TID/stat; 'X': it has ended. */
char held_state(const struct target *t, pid_t tid);
/* Blocked in a system call? */
bool held_is_blocked(const struct target *t, pid_t tid);

/* Stop @tid. -ESRCH it has ended, -EPERM not allowed or traced by another,
 * -ETIMEDOUT (it is in limbo now), -EBUSY in limbo from before. */
int held_take(const struct target *t, struct held_limbo *limbo, pid_t tid, struct held *ret,
              struct error *err);
/* The same in two steps, so that several stop at once; what held_ask() has filled is for
 * held_await(), which waits until @until_ns (clock_now_ns()) and must come. */
int held_ask(const struct target *t, struct held_limbo *limbo, pid_t tid, struct held *ret,
             struct error *err);
int held_await(const struct target *t, struct held_limbo *limbo, struct held *h, uint64_t until_ns,
               struct error *err);
/* Let it go where it was. Here and below: if it was killed meanwhile it is in limbo until it has
 * been waited for. */
void held_release(struct held_limbo *limbo, struct held *h);
/* Send it to @pc. Only the pc (and the kernel's note of a call to restart) changes. */
int held_commit(struct held_limbo *limbo, const struct held *h, uint64_t pc, struct error *err);

/* As held_release(), but a call that would go on by restart_syscall(2), which a filter may answer
 * with death, begins anew: a sleep or timeout starts again. */
void held_release_anew(struct held_limbo *limbo, struct held *h);

/* Take @h back from @pc if it has not executed anything there: 1 taken back, 0 it
 * runs, -errno it cannot be told. It is let go in any case. */
int held_withdraw(struct held_limbo *limbo, const struct held *h, uint64_t pc);

/* Is nothing of a thread that stands with @regs (pc, the words above its stack pointer) in
 * [@start, @end)? */
bool held_regs_are_out_of(const struct target *t, const struct user_regs_struct *regs,
                          uint64_t start, uint64_t end);
/* Is nothing of thread @tid (pc, stack pointer, the words above it) in
 * [@start, @end)? 1, 0 or -errno. A thread that has ended is out. */
int held_is_out_of(const struct target *t, struct held_limbo *limbo, pid_t tid, uint64_t start,
                   uint64_t end);

/* Let those go that have stopped meanwhile; true when nobody is left. */
bool held_settle(struct held_limbo *limbo);
