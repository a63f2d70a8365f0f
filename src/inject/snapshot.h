/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A copy-on-write copy of a running process: it is cloned inside the target by
 * the transaction of inject.h, and the target goes on at once. The copy runs
 * nothing but a countdown, needs no tracer, and ends by itself two seconds after
 * memwho's last sign of life.
 *
 * The surprising rule: a copy has a parent. By a helper that ends at once it
 * becomes a child of the namespace's init, which must then be one that reaps; else
 * it is cloned directly and memwho lets the target reap it. If memwho dies then,
 * a zombie stays, which no plain wait() of the target sees, until the next time.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/error.h"
#include "inject/inject.h"
#include "target/target.h"

struct snapshot_thread {
	pid_t tid;
	struct user_regs_struct regs;
};

struct snapshot_options {
	bool registers; /* of all threads: they all stand still until the copy is made */
};

struct snapshot {
	struct target *copy; /* to be read as any target */
	pid_t ns_pid;        /* of the copy, as the target sees it */
	bool twice;          /* not the target's own child */
	uint64_t pause_ns;   /* from the first thread's stop to the last one's going on */
	struct snapshot_thread *threads;
	size_t n_threads;
	struct inject *in;
	struct heartbeat *heartbeat;
};

/* What a copy calls in the target, and itself: for inject_options, so that a process whose seccomp
 * filter does not allow it is refused before anything is called. */
const struct inject_call *snapshot_calls(size_t *n);

/* -ENOTSUP with a hint when a copy could endanger the target: with overcommit 2,
 * or when its memory limit leaves no room for what it may write meanwhile; also
 * when the seccomp filter of the thread that makes it, which the copy inherits,
 * does not allow a call. -EAGAIN: the limit of processes is reached. @in must
 * live as long as the snapshot. */
int snapshot_take(struct inject *in, const struct snapshot_options *o, struct snapshot **ret,
                  struct error *err);
/* Ends the copy, and has it reaped. */
struct snapshot *snapshot_close(struct snapshot *s);
void snapshot_closep(struct snapshot **s);

/* Have the target reap copies that an earlier memwho left as zombies; how many. */
int snapshot_reap_leftovers(struct inject *in, struct error *err);
/* Are there any? Only looks. */
bool snapshot_has_leftovers(const struct target *t);
