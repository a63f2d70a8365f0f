/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Two ladders side by side: of one process at two times, of one program on two
 * machines. Rows meet by kind and name (of a thread's stack its name is the
 * thread's), so neither addresses nor process ids matter; rows of one kind and
 * name are summed up.
 */

#include "profile/ladder_rows.h"

struct ladder_diff_side {
	size_t n; /* rows; 0: it is not there */
	int64_t virtual_bytes, resident_bytes;
	int64_t in_use_bytes;         /* -1: not known */
	const struct ladder_row *row; /* the largest; NULL */
};

struct ladder_change {
	const char *kind, *name;
	struct ladder_diff_side before, after;
};

struct ladder_changes {
	struct ladder_change *items; /* the largest change first */
	size_t n;
};

/* All rows, also those without a change. Refers to the two. */
int ladder_diff_rows(const struct ladder_rows *before, const struct ladder_rows *after,
                     struct ladder_changes *ret, struct error *err);
void ladder_diff_clear(struct ladder_changes *c); /* { 0 } is empty */
int64_t ladder_diff_virtual(const struct ladder_change *c);
int64_t ladder_diff_resident(const struct ladder_change *c);

/*
 * As a profile (transform_diff() of @type, NULL: virtual_bytes) whose report has
 * "result" = "ladder-diff", figures before_target, after_target and
 * before_..._bytes, after_..._bytes of virtual, resident, unnamed; and the tables
 *   differences  kind name before_rows after_rows virtual_before_bytes
 *                virtual_after_bytes resident_before_bytes resident_after_bytes
 *                in_use_before_bytes in_use_after_bytes (-1: not known) detail
 *   settings     key before after           ("" = not set)
 *   explanations text kind setting bytes    (ladder_explain.h)
 * Only what differs is in them.
 */
int ladder_diff_profile(const struct profile *before, const struct profile *after, const char *type,
                        struct profile **ret, struct error *err);
bool ladder_diff_is(const struct profile *p);
