/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The guard of the target's speed. Before: count what would be hit, and
 * estimate. While recording: how much of the busiest thread's wall time goes
 * into hits. The busiest thread, because a target is as slow as that.
 */

#include <stdbool.h>

#include "alloc/calibrate.h"
#include "alloc/engine_bpf.h"
#include "base/hash.h"

/* What was seen in a while; the arithmetic on it is apart so that it can be tested. */
struct guard_sample {
	double wall_ns;   /* in which the busiest thread had a processor or wanted none */
	u64 busiest_hits; /* of that thread */
	u64 hits, allocations, walks, frames;
};

struct guard {
	struct calibrate_costs costs;
	double limit;        /* highest slowdown that the user accepts */
	double estimate;     /* by counting; 0: not counted */
	u64 hits_per_second; /* of the busiest thread, when counted */
	/* counting took all of its time: its own pace cannot be told, only that it is above
	 * hits_per_second */
	bool is_beyond;
	struct guard_sample counted;

	/* the window that is being watched */
	u64 window_ns;
	struct alloc_counters seen; /* when it began */
	double last, worst;         /* slowdown of the last window, of the worst */
	double own_s, wall_s;       /* of all windows: without the hits, and with */
	bool over;                  /* the last window was over the limit */

	/* thread -> ns that it has waited for a processor. Time in which others ran
	 * instead is not the target's: on a busy machine a thread that is half as
	 * fast as alone would look half as much slowed down by us. */
	struct hash_map waited;
	u64 noted_ns; /* when that was read */
};

/* The slowdown that recording would mean, from counting at costs->count a hit;
 * *hits_per_second: at the thread's own pace. */
double guard_estimate(const struct calibrate_costs *costs, const struct guard_sample *s,
                      double *hits_per_second);
/* Did counting take all of the time? Then pace and slowdown are above what can be told. */
bool guard_is_beyond(const struct calibrate_costs *costs, const struct guard_sample *s);
/* The slowdown while recording. */
double guard_recorded(const struct calibrate_costs *costs, const struct guard_sample *s);

/* What recording takes of the target's processor time, in all its threads: ns. */
double guard_cost_ns(const struct calibrate_costs *costs, const struct guard_sample *s);

void guard_clear(struct guard *g);
/* Begin to watch these threads' waiting (the busiest is only known later). */
void guard_note_threads(struct guard *g, const pid_t *tids, size_t n);

/* Counting: after the counting probes were attached; until 20,000 hits or
 * 200 ms. Fills estimate and hits_per_second. */
void guard_count(struct guard *g, struct engine_bpf *e);

/* Recording begins: start the first window. */
void guard_begin(struct guard *g, struct engine_bpf *e);
/* Is it time to look? A window is a second. */
bool guard_is_due(const struct guard *g, u64 now_ns);
/* Look; true: the limit is passed and the recording must end. */
bool guard_watch(struct guard *g, struct engine_bpf *e);
/* Mean slowdown over the recording, or the estimate when it was too short. */
double guard_slowdown(const struct guard *g);
