/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How far the truth may lie from an estimate that was made from samples: the 95 %
 * interval of one stack, of all below a frame, of a whole profile.
 *
 * The sampler takes a block of s bytes with p = 1 - exp(-s/mean); taken, it stands for
 * w = 1/p blocks. What a profile keeps of each stack can be added, over stacks, frames
 * and filters, in any order:
 *
 *	estimate	sum of s w	for blocks (not bytes) with s = 1
 *	seen		sum of s	these bytes are there for sure
 *	variance	sum of s^2 w (w-1), Horvitz's and Thompson's estimator; samples are
 *			drawn independently, so variances add
 *	samples		how many
 *
 * The interval. Truth = seen + U, with U the blocks that were not taken. For n samples
 * with the same p the number of blocks between them is negative binomial, so U has the
 * mean estimate - seen =: u and the variance `variance` =: v, and a gamma distribution
 * with the same two, shape k = u^2/v and scale t = v/u, stands for it: for small blocks
 * (p -> 0) that is gamma(n) times the mean distance, exactly what Garwood's limits are
 * made of (Biometrika 28, 1936): gamma(n) below, gamma(n+1) above. Those cover too much,
 * more than 97 % for few samples; gamma(n + 1/2) for both (Jeffreys's limits, nearly the
 * mid-P ones: Brown, Cai, DasGupta, Statist. Sinica 13, 2003) covers 95 % on average. In
 * general n is k/q, with q = 1 - p the share that is not taken, so half a sample more is
 * a shape of k (1 + 1/2n). For different sizes the same is done with the sums: then k is
 * the effective number of samples, as in Fay's and Feuer's interval of a weighted sum of
 * Poisson counts (Stat. Med. 16, 1997). For many samples this is the normal interval.
 *
 * U is a whole number of blocks, which counts where they are large: half a block, (1-q)
 * t / 2, is added on both sides, and the lower end is never below what was seen. The
 * quantile of the gamma distribution is Wilson's and Hilferty's (PNAS 17, 1931).
 *
 * tests/unit/test_interval.c measures that it covers what it says.
 */

#include <stdbool.h>
#include <stdint.h>

#include "profile/profile.h"

struct interval_sum {
	double estimate, seen, variance;
	double samples;
};

/* One more sample of a block of @size, which stands for @weight blocks (>= 1). */
void interval_add_bytes(struct interval_sum *to, double size, double weight);
void interval_add_blocks(struct interval_sum *to, double weight);

/* Sums add. */
void interval_add(struct interval_sum *to, const struct interval_sum *from);

/* Both ends; the estimate itself where nothing was left to chance (or no sample). */
void interval_of(const struct interval_sum *s, double *low, double *high);

/* What is not held back by any sample, in mean distances: up to here none is seen with a
 * probability of 2.5 % or more. */
#define INTERVAL_WITHOUT_SAMPLE 3.688879

/* ---- in profiles ---- */

/* Value types that carry the sums beside "inuse_space": "inuse_samples", "inuse_seen"
 * (bytes) and "inuse_space_variance"; the same for alloc_ and for _objects, whose `seen`
 * are the samples. They are for computing: is_helper is what no list should offer. */
struct interval_types {
	int estimate, samples, seen, variance; /* -1: the type is no estimate */
};

enum { INTERVAL_TYPES = 8 };
extern const struct profile_type interval_profile_types[INTERVAL_TYPES];

/* Values for the types of interval_profile_types, in their order; the variances in units
 * that keep whole numbers small enough, and rounded. */
void interval_values(const struct interval_sum *alloc_objects,
                     const struct interval_sum *alloc_space,
                     const struct interval_sum *inuse_objects,
                     const struct interval_sum *inuse_space, int64_t values[INTERVAL_TYPES]);

/* false: values of @type are no estimates, or the profile does not say how good they are. */
bool interval_find(const struct profile *p, size_t type, struct interval_types *ret);
bool interval_is_helper(const struct profile_type *t);
/* How many of the estimate's units, squared, one unit of the type's variance is. */
double interval_variance_unit(const struct profile *p, const struct interval_types *t);

/* Of values that were summed in any way. @t: as interval_find() gave it. */
struct interval_sum interval_sum_of(const struct profile *p, const struct interval_types *t,
                                    const int64_t *values);
