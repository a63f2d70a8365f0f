/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Profiles made from profiles. All leave their inputs alone. */

#include "profile/profile.h"

/* Add all of @from to @to (same value types by name, else -EINVAL). */
int transform_merge(struct profile *to, const struct profile *from, struct error *err);

/* After minus before, sample by sample. The result has the value types
 * "after", "before" and "delta" (unit of @type, delta is the default) for the
 * value type named @type (NULL: each profile's default). Addresses do not
 * matter: frames are matched by function name, or module name and offset. */
int transform_diff(const struct profile *before, const struct profile *after, const char *type,
                   struct profile **ret, struct error *err);

struct transform_options {
	const char *focus, *ignore; /* extended regexps on frame texts; NULL: none */
	const char *by;             /* label key, or thread, module, size: becomes the root frame */
	bool no_inline;
	bool reverse; /* leaf becomes the root */
};

/* Filter and regroup. A regexp that does not compile is -EINVAL. */
int transform_apply(const struct profile *p, const struct transform_options *o,
                    struct profile **ret, struct error *err);
