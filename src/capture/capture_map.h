/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Trace the mappings of targets until a duration, a signal or the targets' end,
 * and hand back one result: what map and run --map call.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "map/tracer.h"
#include "profile/profile.h"

struct capture_map_options {
	struct tracer_options tracer;
	double duration_s; /* 0: no limit, but see @time_box */
	double every_s;    /* 0: only at the end */
	/* where tracing costs every process of the machine and no duration is
	 * given: not longer than this; 0: all the same */
	double time_box_s;
	const char *ready_file; /* NULL: none */

	/* Called once when recording has begun. May be NULL. */
	int (*begun)(void *arg, struct error *err);
	/* Called every every_s with the state of now. May be NULL. */
	int (*look)(void *arg, const struct profile *p, struct error *err);
	/* Called about once a second. May be NULL. */
	void (*progress)(void *arg, double seconds, unsigned long long mapped_bytes);
	/* Called at the end for each range; @p is the result. May be NULL. */
	int (*range)(void *arg, const struct profile *p, const struct tracer_range *r,
	             struct error *err);
	void *arg;
};

/* alloc_interrupted is the signal's way in. */
int capture_map(const pid_t *pids, size_t n_pids, const struct capture_map_options *o,
                struct profile **ret, struct error *err);
