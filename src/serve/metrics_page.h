/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What /metrics says: one list of families, filled from plain figures that the
 * service gives. The surprising rule: what is not known is not there; no sample
 * is written with a 0 that nobody measured.
 *
 * The number of series is bounded: per target one for each kind of row (a fixed
 * list) and allocator, no stacks, no pids but as METRICS_PAGE_MAX_TARGETS targets
 * have them. Text fields are borrowed from the caller.
 */

#include <stdint.h>

#include "map/ladder.h"
#include "serve/metrics.h"
#include "serve/spool.h"

enum { METRICS_PAGE_MAX_TARGETS = 1000, METRICS_PAGE_MAX_KINDS = 40 };

/* A ladder, as much of it as metrics show: rows of one kind are one. */
struct metrics_page_rows {
	struct metrics_page_row {
		const char *kind; /* static */
		uint64_t virtual_bytes, resident_bytes, swap_bytes;
		int64_t in_use_bytes, cached_bytes; /* -1: not known */
		bool is_inside;                     /* its blocks are another row's, too */
	} row[METRICS_PAGE_MAX_KINDS];
	size_t n;
};
void metrics_page_rows(const struct ladder *l, struct metrics_page_rows *ret);

/* Figures that are not known are negative, texts NULL. */
struct metrics_page_target {
	const char *name, *comm;
	bool is_up;
	const struct metrics_page_rows *rows; /* NULL: no ladder was read yet */
	double anon_bytes, cgroup_used_bytes, cgroup_limit_bytes, limit_eta_s;
	double growth_bytes_per_s; /* may be negative: has_growth says whether it is known */
	bool has_growth;
	double held_bytes; /* by the running recording */
	double lost_events, recording_cpu_s, recording_own_bytes;
};

struct metrics_page_captures {
	const char *target, *trigger, *outcome; /* outcome: "ok", "failed", "cancelled" */
	uint64_t n;
	const char *last_id; /* of an "ok" one; NULL: none */
	double last_unix_s;
};

struct metrics_page_push {
	const char *name;
	uint64_t queued, queued_bytes, sent, dropped_refused, dropped_full, retries;
};

struct metrics_page {
	const char *version;
	const struct metrics_page_target *targets;
	size_t n_targets;
	const struct metrics_page_captures *captures;
	size_t n_captures;
	const struct metrics_page_push *pushes;
	size_t n_pushes;
	const struct spool_counts *spool; /* NULL: there is none */
	uint64_t held_off;                /* captures that were due within a cooldown */
	/* Families of the service's own, written before the end. May be NULL. */
	void (*more)(void *arg, struct metrics *m);
	void *arg;
};

/* With memwho's own cost, which is measured here. -EIO: the stream. */
int metrics_page_write(const struct metrics_page *p, enum metrics_format f, FILE *to,
                       struct error *err);
