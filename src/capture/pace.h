/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A recording's course: poll the collector until a signal, the duration or a
 * condition ends it, with looks and progress in between. What is recorded is the
 * caller's.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum pace_end { PACE_BY_ITSELF, PACE_BY_SIGNAL, PACE_BY_DURATION, PACE_BY_CONDITION };

struct pace {
	double duration_s; /* 0: no limit */
	double every_s;    /* between looks; 0: none */

	/* Wait for the targets' events, at most @ms: 1 the recording has ended by
	 * itself, 0, or -errno. */
	int (*poll)(void *arg, int ms, struct error *err);
	int (*look)(void *arg, struct error *err);
	/* About once a second. */
	void (*progress)(void *arg, double seconds);
	bool (*is_reached)(void *arg); /* the condition; NULL: none */
	void *arg;

	uint64_t begun_ns, looked_ns, told_ns; /* ours */
};

/* The times count from here. */
void pace_begin(struct pace *p);
/* Returns an enum pace_end, or -errno. alloc_interrupted is the signal's way in. */
int pace_run(struct pace *p, struct error *err);
