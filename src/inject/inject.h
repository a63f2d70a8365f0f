/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The one transaction that everything which touches a target uses: choose a
 * thread, stop it at a safe point, write a stub that puts everything back by
 * itself, commit by moving nothing but the thread's pc, let go, watch a word of
 * memory. Before the commit nothing has happened; after it the thread finishes
 * alone, whether memwho lives or not.
 *
 * The surprising rule: no function with all threads stopped. Another thread may
 * hold the lock that the call needs, and has to run on to give it back. System
 * calls that need none of the program's locks may (still.h).
 *
 * What is left in the target when memwho dies: one area of 336 KiB address
 * space, reused by the next memwho and taken away by inject_clean(); and, if it
 * dies between a stop and the repair of an interrupted call (microseconds), one
 * EINTR for calls of the kind of epoll_wait.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "symbol/symbol.h"
#include "target/target.h"

struct inject;

struct inject_call {
	const char *name;
	long number;
	uint64_t args[6];
};

enum { INJECT_MAX_CALLS = 16 };

struct inject_options {
	unsigned timeout_ms; /* for a thread at a safe point, and for the call; 0: 3000 */
	bool prefer_running; /* default: a blocked thread, as it holds no locks of its own */
	/* what inject_syscall() will be asked for (INJECT_MAX_CALLS at most), its addresses as
	 * good as they are known: where a thread's seccomp filter does not allow one of them, or
	 * of those that make the area, inject_open() says so before anything is called. Each call
	 * is asked about once more, as it is, before it is made. */
	const struct inject_call *calls;
	size_t n_calls;
};

struct inject_stats {
	uint64_t transactions;
	uint64_t stops;     /* threads that were stopped to be looked at */
	uint64_t refused;   /* of these: not at a safe point */
	uint64_t withdrawn; /* commits taken back because the thread did not begin */
	uint64_t limbo;     /* threads that did not stop in time */
	/* of one thread, from being asked to stop until it runs again; refused ones included */
	uint64_t last_stop_ns, longest_stop_ns;
	uint64_t last_total_ns;    /* from asking the lent thread to stop to the end of the call */
	uint64_t longest_still_ns; /* of all threads at once, by inject_note_still() */
	char why[128];             /* of the last refusal */
};

/* @space is for safe points (inject_function()); NULL if only system calls are
 * wanted. Makes the area, or takes over one that is there, with what was begun
 * in it. -EBUSY: another memwho is at work there, or a debugger; -EPERM; -ENOTSUP on
 * other machines, with shadow stacks, or under a filter that forbids it. */
int inject_open(const struct target *t, struct symbol_space *space, const struct inject_options *o,
                struct inject **ret, struct error *err);
/* The area stays, for the next time. */
struct inject *inject_close(struct inject *in);
void inject_closep(struct inject **in);

/* A system call by some thread. *ret is what the kernel returned (-errno as a
 * value). -EAGAIN no thread could be lent; -EINPROGRESS it has begun and does
 * not end: it will, by itself. */
int inject_syscall(struct inject *in, long number, const uint64_t args[6], int64_t *ret,
                   struct error *err);

/* Call @function(args...) in a thread that is at a safe point. @errno_location:
 * address of the libc's __errno_location, so that errno survives; 0 if there is
 * none. As above. */
int inject_function(struct inject *in, uint64_t function, uint64_t errno_location,
                    const uint64_t args[6], uint64_t *ret, struct error *err);

/* The same in one transaction for many calls of one function, with five arguments each: @rows is
 * written to @at (in the scratch bytes, with room for it), and has the results afterwards. The lent
 * thread makes all of them before it goes on, so they should be few and short. */
struct inject_row {
	uint64_t args[5], result;
};
struct inject_table {
	uint64_t function, errno_location, at;
	struct inject_row *rows;
	size_t n;
};
int inject_functions(struct inject *in, const struct inject_table *table, struct error *err);

/* From now on thread @tid and no other makes the calls, for functions that look after what their
 * own thread has; 0: any. -EAGAIN of them may then mean that it has ended. */
void inject_only(struct inject *in, pid_t tid);
/* Code of the target (its own addresses, by address, disjoint) that has no names and must not be on
 * a lent thread's stack, because it is the allocator's. The module that is called may then have
 * other code without names: a stripped program. Lives as long as @in; n 0: none. */
struct inject_range {
	uint64_t start, end;
};
void inject_avoid(struct inject *in, const struct inject_range *ranges, size_t n);
/* How long a thread at a safe point, and a call, are waited for from now on. */
void inject_set_timeout(struct inject *in, unsigned ms);

/* Bytes in the target for arguments that are pointers. */
uint64_t inject_scratch(const struct inject *in);
uint64_t inject_scratch_bytes(const struct inject *in);
int inject_write(struct inject *in, uint64_t addr, const void *bytes, size_t n, struct error *err);
int inject_read(struct inject *in, uint64_t addr, void *bytes, size_t n, struct error *err);

/* Somebody has stopped all threads for so long. */
void inject_note_still(struct inject *in, uint64_t ns);
const struct inject_stats *inject_stats_of(const struct inject *in);

/* Take away the area, and a first stub that a memwho that was killed has left: 1 done, 0 there was
 * nothing. -EBUSY: a thread is in it. */
int inject_clean(const struct target *t, struct error *err);
/* Does /proc/PID/status say so? x86_Thread_features lists what is on, shstk first (Linux 6.6,
 * dump_x86_features(), arch/x86/kernel/cpu/proc.c); x86_Thread_features_locked does not count. */
bool inject_has_shadow_stack(const char *status);
/* Is there an area of ours? What was under way when its memwho ended: *tid (0: nothing). */
bool inject_find(const struct target *t, uint64_t *area, pid_t *tid, struct error *err);
