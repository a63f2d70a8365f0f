/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One memwho at a time in a process. The kernel lets go of it when its holder ends,
 * however it ends, and tells others who that is. The surprising rule: the lock is on
 * what the kernel has of the process, so that it is the same from every mount,
 * network, user and pid namespace.
 */

#include "base/error.h"
#include "target/target.h"

struct lock {
	int process; /* a pidfd: since Linux 6.9 one inode for each process */
	int folder;  /* its folder in /proc: one inode for each process and mount of proc */
};

#define LOCK_NONE ((struct lock){ -1, -1 })

/* -EBUSY: by whom it is held, as far as that can be seen from here. */
int lock_take(const struct target *t, struct lock *ret, struct error *err);
/* Also of LOCK_NONE. */
void lock_give(struct lock *l);

/* That there are breakpoints of ours (uprobes) in @t's code: nobody is kept out by that, but who
 * finds one can ask whose it is. A descriptor, to be closed when they are gone; -1. */
int lock_mark(const struct target *t);
/* Who has said so; 0: nobody, as far as can be seen from here. */
pid_t lock_marked_by(const struct target *t);
