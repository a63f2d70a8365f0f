/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the allocator held before the attach. Its own live figure, read from outside
 * (runtime/regions.h), is all that the program has now; what was recorded and is still
 * held is known; the rest is older. So the row "[before attach]" shrinks as older blocks
 * are freed, and the widths of all rows sum to what the allocator holds.
 *
 * The allocator counts blocks as it cuts them, the recording counts what was asked for.
 * The difference is a row of its own where the allocator's way of cutting is known
 * (runtime_ops.block_bytes); else it is part of "[before attach, and rounding]".
 *
 * Older blocks can only become less than at the first look. What the allocator holds
 * beyond these and the estimate is younger and fell between the samples: the row "[since
 * the attach, in no sample]". An estimate that is too high leaves less than there is.
 *
 * What it cannot know: the live figure and the recording are read some milliseconds
 * apart, of a process that runs; contradictions in the allocator's own structures are
 * counted (regions_heap.inconsistent) and shown.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "profile/interval.h"
#include "profile/profile.h"

struct runtime_ops;
struct tracee;

/* Recorded and still held, at the moment of the look. */
struct before_held {
	struct interval_sum bytes; /* as asked for; without variance where it is exact */
	double low, high;          /* its 95 % interval */
	double rounding;           /* what the allocator takes for them beyond that; 0: not known */
};

struct before {
	bool is_looked, is_known, is_fresh; /* is_fresh: live is of the last reading */
	const struct runtime_ops *only;     /* the one allocator that has a heap, or NULL */
	uint64_t live;                      /* the allocator's blocks, now */
	double bytes;                       /* of them, older than the attach */
	double unsampled;                   /* of them, younger, and more than the samples say */
	double low, high;                   /* with 95 % */
	struct interval_sum held;           /* what the uncertainty comes from */
	double rounding; /* what the allocator takes for what was recorded, beyond its bytes */
	bool has_first;
	double at_first; /* bytes at the first look that could read live: it can only become less */
	uint64_t inconsistent; /* structures of the allocator that contradicted each other */
	uint64_t looked_ns, cost_ns;
	char why[256]; /* it is not known */
};

/* Is it time for another look? At once, then every second, for at most a fiftieth of the
 * time. */
bool before_is_due(const struct before *b, uint64_t now_ns);
/* Read the live figure of @t's allocators; what cannot be known is said in why. It takes
 * some milliseconds to a second, in which @meanwhile is called over and over. Then take
 * from it what was recorded and is held. */
void before_read(struct tracee *t, void (*meanwhile)(void *arg), void *arg);
void before_take(struct tracee *t, const struct before_held *held);
/* What a block of @size takes beyond @size, by the last reading's allocator; 0 where that is
 * not known. */
uint64_t before_rounding(const struct tracee *t, uint64_t size);

/* The rows, with the labels of the process. Where @p has the types of
 * profile/interval.h the row of the older blocks has the variance, and the number, of the
 * samples that were taken from the allocator's figure. */
int before_fill(const struct tracee *t, double rounding, struct profile *p, struct error *err);
/* Of several processes the sums; what is not known of one of them is not known of all. */
int before_report(struct tracee *const *tracees, size_t n, struct report *to, struct error *err);
