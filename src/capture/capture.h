/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Run a collector on targets until a duration, a signal, a condition or the
 * target's end, and hand back one result: what cli and serve both call.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "alloc/alloc.h"
#include "base/error.h"
#include "profile/profile.h"

enum capture_quantity { CAPTURE_NOTHING, CAPTURE_RSS, CAPTURE_HELD };

/* "rss>2G", "held>100M", "rss<1G". */
struct capture_condition {
	enum capture_quantity quantity;
	bool below;
	unsigned long long bytes;
};
int capture_condition_parse(const char *text, struct capture_condition *ret, struct error *err);

struct capture_options {
	struct alloc_options alloc;
	struct alloc_filter filter;
	double duration_s; /* 0: no limit */
	double every_s;    /* 0: only at the end */
	bool grown;        /* the result at the end has growth_space, too: since the beginning */
	struct capture_condition until;
	const char *ready_file; /* NULL: none */
	bool started_stopped;   /* the target waits for us (capture/launch.h) */

	/* Called once when recording has begun. May be NULL. */
	int (*begun)(void *arg, struct error *err);
	/* Called every every_s with what is held now (with the value type
	 * "growth_space": since the last look); the callee does not keep it. */
	int (*look)(void *arg, const struct profile *p, struct error *err);
	/* Called about once a second. May be NULL. */
	void (*progress)(void *arg, double seconds, unsigned long long held_bytes);
	void *arg;
};

/* Record until something ends it; alloc_interrupted is the signal's way in. */
int capture_alloc(const pid_t *pids, size_t n_pids, const struct capture_options *o,
                  struct profile **ret, struct error *err);

/* Say that recording has begun; NULL: to nobody. */
int capture_make_ready_file(const char *path, struct error *err);
