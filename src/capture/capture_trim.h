/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Have a process's allocators give free memory back, and measure what came of
 * it: what their heaps show from outside before the call says what it would give
 * back, and page tables say afterwards what it did. The surprising rule: an
 * allocator that cannot be asked is no failure while another one can.
 */

#include <sys/types.h>

#include "capture/heaps.h"
#include "inject/inject.h"

struct capture_trim_options {
	bool caches;         /* threads' caches are emptied first, where that can be done */
	bool only_predict;   /* nothing is called */
	unsigned timeout_ms; /* for one call; 0: 30 s */
};

enum { CAPTURE_TRIM_MAX = HEAPS_MAX };

struct capture_trim_one {
	const struct runtime_trim *trim;
	struct runtime_trim_done done;
	struct error refused; /* code 0: it was asked (or would be) */
};

struct capture_trim {
	pid_t pid;
	char comm[64];
	struct heaps before, after; /* after: empty with only_predict */
	struct capture_trim_one items[CAPTURE_TRIM_MAX];
	size_t n, n_asked;
	struct inject_stats stats;
};
void capture_trim_clear(struct capture_trim *c); /* { 0 } is empty */

/* -ENOTSUP: none of its allocators can be asked; -EAGAIN, -EBUSY, -EPERM, -EINPROGRESS as
 * inject_open() and inject_function() say. */
int capture_trim(pid_t pid, const struct capture_trim_options *o, struct capture_trim *ret,
                 struct error *err);
