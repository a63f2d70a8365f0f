/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Who forks and who begins another program, on the whole machine, as the kernel says it
 * (perf_event_open(2): PERF_RECORD_FORK, and PERF_RECORD_COMM of an exec, Linux 3.16). No
 * process is touched, and none is slowed down beyond writing 64 bytes for each fork. It
 * wants CAP_PERFMON, or kernel.perf_event_paranoid below 0.
 *
 * Of processes that are not in our pid namespace nothing is told.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum forks_kind { FORKS_FORK, FORKS_EXEC };

struct forks_event {
	enum forks_kind kind;
	pid_t pid, parent; /* parent: of a fork */
	uint64_t time_ns;  /* clock_now_ns()'s clock */
};

struct forks;

/* From now on. -EPERM, -EACCES, -ENOSYS, ...: it is not permitted. */
int forks_open(struct forks **ret, struct error *err);
struct forks *forks_close(struct forks *f);
void forks_closep(struct forks **f);

/* What has come, in the order of time, but for the last millisecond. -ENOMEM. */
int forks_read(struct forks *f, void (*found)(void *arg, const struct forks_event *e), void *arg,
               struct error *err);
/* Events that the kernel had no room for. */
uint64_t forks_lost(const struct forks *f);
