/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The threads of a target without stopping or tracing any: name, stack pointer
 * (/proc/PID/task/TID/syscall has it while a thread is blocked) and thread
 * pointer (found by its own address at +0 and +16, glibc's tcbhead_t, or at +0,
 * musl's struct pthread). The surprising rule: a running thread has no stack
 * pointer to show; it is asked again for a bounded time, then stays unknown.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "target/maps.h"
#include "target/target.h"

struct thread {
	pid_t tid;
	pid_t ns_tid; /* as the target sees it */
	char comm[64];
	uint64_t sp;  /* 0: not known */
	uint64_t tcb; /* thread pointer (fs base on x86-64); 0: not found */
	/* The stack: the part of the mapping that holds sp, or that thread memory
	 * (tcb) proves; 0, 0: not known. Without its guard page. */
	uint64_t stack_start, stack_end;
	uint64_t guard_bytes; /* directly below stack_start, as thread memory says; 0: not known */
};

struct threads {
	struct thread *items; /* by tid */
	size_t n_items, cap_items;
	size_t n_running; /* without stack pointer after all tries */
	/* Stacks that ended threads left behind, which glibc keeps for threads to come: only tcb,
	 * stack_start, stack_end and guard_bytes are set. */
	struct thread *ended;
	size_t n_ended, cap_ended;
};

/* -ESRCH: has ended; -EACCES/-EPERM: another user's. A thread that ends meanwhile is left out. */
int threads_read(const struct target *t, const struct maps *m, struct threads *ret,
                 struct error *err);
void threads_clear(struct threads *t); /* { 0 } is empty */
/* The thread whose stack holds @addr, or NULL. */
const struct thread *threads_find(const struct threads *t, uint64_t addr);
