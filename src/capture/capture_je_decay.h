/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Free pages and time: what jemalloc gives back when it looks after them once
 * (arena.<i>.decay), or when it is told another time to keep them for. The surprising rules:
 * pages whose muzzy time is not 0 are only marked (MADV_FREE) when their dirty time is over,
 * and stay resident until the kernel wants them; and an arena that nobody uses looks at
 * nothing, unless jemalloc has background threads, which then are the only ones to look (one
 * that fell asleep for want of work wakes when blocks are freed).
 *
 * arena_decay(), arena_decay_ms_set() of src/arena.c, decay_reinit() of src/decay.c,
 * pac_maybe_decay_purge() of src/pac.c, jemalloc 5.2 and 5.3.
 */

#include "capture/capture_je.h"

/* Instead of a time: as it is, only look once. */
#define CAPTURE_JE_DECAY_AS_IS (-2)

struct capture_je_decay_arena {
	unsigned arena;
	uint64_t dirty_bytes, muzzy_bytes; /* resident */
	int64_t dirty_ms, muzzy_ms;        /* as they were; -1: never */
	uint64_t least_bytes, most_bytes;  /* that come back at once: between these */
	uint64_t later_bytes;              /* that come back in time, if nobody takes them */
	int64_t within_ms;                 /* in which time; 0: nothing does */
};

/* Fill in what is predicted of an arena. @ms: the dirty time that is set; @background: threads. */
void capture_je_decay_predict(struct capture_je_decay_arena *a, int64_t ms, bool background);

struct capture_je_decay {
	int64_t ms;
	bool known;      /* its free pages could be looked at; else nothing is predicted */
	bool background; /* it has background threads */
	struct capture_je_decay_arena *arenas; /* with free pages that are resident */
	size_t n;
	uint64_t least_bytes, most_bytes, later_bytes; /* sums */
	int64_t within_ms;                             /* the longest */
	struct heaps before, after;
};
void capture_je_decay_clear(struct capture_je_decay *d); /* { 0 } is empty */

/* Predict, do it, measure. @ms: from now on the time after which dirty pages of all arenas, and of
 * those to come, go back; -1: never; or CAPTURE_JE_DECAY_AS_IS. */
int capture_je_decay(struct capture_je *c, int64_t ms, struct capture_je_decay *ret,
                     struct error *err);
