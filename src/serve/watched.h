/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The processes that we serve: those of the [target]s, and those asked for by
 * number, which stay for ten minutes. The surprising rule: a round of looks goes
 * on in slices, so that neither a thousand targets nor a slow /proc delays an
 * answer; answers show what the last round saw. Who asks for a capture is looked
 * up anew (watched_find()).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "serve/config.h"
#include "serve/peer.h"
#include "serve/worker.h"

enum {
	WATCHED_HISTORY = 120,  /* points of the growth chart, */
	WATCHED_EVERY_S = 5,    /* so far from each other: ten minutes */
	WATCHED_KEEP_S = 600,   /* a pid that was asked for */
	WATCHED_MAX_PIDS = 256, /* asked for by number at the same time */
};

struct watched_item {
	char name[CONFIG_NAME_BYTES];       /* of the [target], or the pid */
	const struct config_target *target; /* NULL: asked for by number */
	uint64_t asked_ns;                  /* the last time, by number */

	/* as of the last look; n_processes 0: nothing is there, and why */
	uint32_t n_processes;
	struct worker_process processes[WORKER_MAX_PIDS];
	char comm[64]; /* of the first one; any bytes */
	char why[160];
	uint64_t resident_bytes, anon_bytes; /* sums; anon: resident less file and shared */
	uint64_t looked_ns;
	uint64_t retry_ns; /* a recording that failed: keeper.c */
	unsigned retry_s;
	uint64_t recorded_ns; /* since then; 0: it is not */
	int32_t last_pid;     /* whose last look is asked for */
	/* what its recording has said last, keeper.c; not known while figures_due_ns is 0 */
	int64_t held_bytes, lost_events;
	int64_t own_bytes; /* resident memory of ours in the processes; not above 0: none known */
	double recording_cpu_s;
	uint64_t figures_due_ns;
	int statm[WORKER_MAX_PIDS]; /* of the processes; -1: not kept open. watched.c's own */
	uint64_t whole_ns;          /* the last look that was not by these alone */
	uint64_t restarts;          /* times that other processes were there than before */

	uint64_t history[WATCHED_HISTORY]; /* resident bytes, a ring; 0: not known */
	size_t next_history;
	uint64_t history_ns;
};

struct watched;

int watched_new(const struct config *c, struct watched **ret, struct error *err);
/* Another configuration: items of the same name keep what they know. @c must outlive the
 * use, as above. */
int watched_reload(struct watched *w, const struct config *c, struct error *err);
struct watched *watched_free(struct watched *w);

/* Look at a slice; to be called every 100 ms. A round takes a second. */
void watched_run(struct watched *w);

size_t watched_n(const struct watched *w);
struct watched_item *watched_at(struct watched *w, size_t i); /* valid until the next find */

/*
 * The item of a name or pid, looked at just now, for somebody who may see all of its
 * processes. -ENOENT: no such target; -ESRCH: its process is not there; -EACCES: not for
 * @p (or not on the allow-list).
 */
int watched_find(struct watched *w, const char *name, const struct peer *p,
                 struct watched_item **ret, struct error *err);
/* May @p see all of its processes? */
bool watched_may_see(const struct watched_item *item, const struct peer *p);
