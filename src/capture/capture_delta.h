/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a process's heaps hold before and after something: how much did releasing
 * that module give back? The surprising rule: no allocator is asked and no cache
 * flushed. The figures are read from its structures while the process stands
 * still, caches of all threads are told apart, so the difference is that of the
 * blocks alone, and measuring changes nothing of what is measured.
 */

#include <sys/types.h>

#include "capture/heaps.h"

struct capture_delta {
	struct heaps_session session;
	bool stop;
	struct heaps before, after;
	uint64_t before_ns, after_ns; /* clock_now_ns() */
	/* jemalloc's own, where that is on: taken before the first look and after the second. */
	struct profile *profile_before, *profile; /* profile: after less before; NULL: none */
};
void capture_delta_clear(struct capture_delta *d); /* { 0 } is empty */

/* @stop: the process stands still for each look. @profile: jemalloc's own, too, if it has one that
 * is on; for that mallctl() is called there (capture_je.h). Why not, if not: no error. */
int capture_delta_begin(pid_t pid, bool stop, bool profile, struct capture_delta *d,
                        struct error *err);
/* -ESRCH: it has ended; -ESTALE: it runs another program. */
int capture_delta_end(struct capture_delta *d, struct error *err);

/* Live bytes of all heaps whose live bytes are known on both sides: before less after. */
int64_t capture_delta_freed(const struct capture_delta *d);
/* Of these heaps after it: what is free and in memory, that a trim would give back; -1: not known.
 */
int64_t capture_delta_could_trim(const struct capture_delta *d);
