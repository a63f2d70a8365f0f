/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The sampling engine's blocks -> a profile: estimates, each with its interval. */

#include "alloc/recorder.h"

/* As alloc_result(). */
int result_agent_make(struct alloc_recorder *r, enum alloc_ended ended,
                      const struct alloc_filter *filter, struct profile **ret, struct error *err);

/*
 * What is known of a sum from samples: @estimate, and its @variance (the sum of
 * value^2 (1-p)/p^2 over them, Horvitz and Thompson); @least was seen for sure.
 * The 95 % interval is that of a Poisson count with the same relative variance,
 * by Byar's approximation: symmetric for many samples, and right for few, where
 * a normal one would reach below what was seen.
 */
void result_agent_interval(double estimate, double variance, double least, double *low,
                           double *high);
