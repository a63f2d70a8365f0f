/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The seccomp filters of a target's threads, asked about a call before it is
 * made. Each thread has its own; most have what they inherited.
 *
 * To read them the kernel wants CAP_SYS_ADMIN in the first user namespace, and
 * that we are under no filter ourselves (seccomp_get_filter(), kernel/seccomp.c,
 * PTRACE_SECCOMP_GET_FILTER, Linux 4.4; CONFIG_CHECKPOINT_RESTORE). Without it
 * every call in a thread that has a filter is refused.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "inject/held.h"
#include "target/target.h"

struct filters_call {
	const char *name; /* as in syscalls(2); NULL: not known */
	uint64_t number;
	uint64_t args[6];
	uint64_t pc; /* behind its instruction, as a filter sees it */
};

/* Does the thread have a filter (or strict mode)? By /proc; true if that cannot be read. */
bool filters_are_on(const struct target *t, pid_t tid);

/* May memwho read filters at all? 0, or -ENOTSUP with the reason. */
int filters_can_be_read(const struct target *t, struct error *err);

/* Thread @tid, which stands still and is traced by the caller: 0 if all @calls would be made,
 * -ENOTSUP and a sentence with the first one that would not be. */
int filters_allow(const struct target *t, pid_t tid, const struct filters_call *calls, size_t n,
                  struct error *err);

/* The same of every thread that has one, each stopped for a moment to be asked, and of
 * restart_syscall(2), by which the kernel lets many calls go on after a stop. Nothing has been
 * called afterwards. */
int filters_ask_all(const struct target *t, struct held_limbo *limbo,
                    const struct filters_call *calls, size_t n, struct error *err);
