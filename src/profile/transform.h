/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Profiles made from profiles. All leave their inputs alone. */

#include "profile/profile.h"

/* Add all samples and modules of @from to @to (same value types by name, else
 * -EINVAL). The start becomes the earlier one, the duration the longer one, as
 * of processes recorded together; the report stays @to's. */
int transform_merge(struct profile *to, const struct profile *from, struct error *err);

/* After minus before, sample by sample. The result has the value types
 * "after", "before" and "delta" (unit of @type, delta is the default) for the
 * value type named @type (NULL: each profile's default). Addresses do not
 * matter: frames are matched by function name, or module name and offset.
 * Labels "pid" and "tid" are left out, so that a restarted process compares.
 * Report: diff_type, before_total, after_total, delta_total; of reference
 * graphs "result" = "refs-diff". */
int transform_diff(const struct profile *before, const struct profile *after, const char *type,
                   struct profile **ret, struct error *err);

/* What was allocated and freed again: the value types "freed_objects" and
 * "freed_space" (the default) of a heap profile. -EINVAL: @p is none. */
int transform_churn(const struct profile *p, struct profile **ret, struct error *err);

struct transform_options {
	const char *focus, *ignore; /* extended regexps on frame texts; NULL: none */
	/* What becomes the root frame (the outermost): a label's key; "thread"
	 * (label thread, else tid), "module" (of the innermost frame), "size"
	 * (power of two of the average object held). NULL: none. */
	const char *by;
	bool no_inline; /* drop frames that were inlined into their caller */
	bool reverse;   /* leaf becomes the root */
	bool by_name;   /* frames of one function are one: no offsets, no lines */
};

/* Filter and regroup. A regexp that does not compile is -EINVAL. */
int transform_apply(const struct profile *p, const struct transform_options *o,
                    struct profile **ret, struct error *err);
