/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The 95 % intervals of a sampled profile as comments of a pprof file, for whoever reads it
 * with another tool: one for the whole, one for each of the largest stacks. memwho itself
 * computes them anew from the sums in the value types (profile/interval.h), and ignores these.
 *
 *	memwho-interval: inuse_space 10346303 bytes, 95 %: 6574472 to 15647858, 19 samples: f < g <
 *main
 */

#include "base/error.h"
#include "profile/profile.h"

/* Nothing if the default type's values are no estimates. @line as in pprof_report.h. */
int pprof_intervals_write(const struct profile *p,
                          int (*line)(void *arg, const char *text, struct error *err), void *arg,
                          struct error *err);
