/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The rows of a ladder by kind, and within a kind by name: 200 files or the
 * stacks of 64 equal threads are one line. Largest first; "unnamed" is last and
 * always there.
 */

#include "profile/ladder_rows.h"
#include "render/render.h"

struct ladder_sums {
	size_t n; /* rows */
	int64_t virtual_bytes, resident_bytes, reserved_bytes, pss_bytes, swap_bytes;
	int64_t in_use_bytes, cached_bytes; /* -1: of no row known */
	int64_t checked, inconsistent;
};

struct ladder_sums ladder_group_sums(const struct ladder_row *row);

/* Rows of one name in one kind. */
struct ladder_entry {
	const struct ladder_row *row; /* the largest of them */
	struct ladder_sums sums;
};

struct ladder_group {
	const char *kind;
	struct ladder_sums sums;
	struct ladder_entry *entries; /* n_entries of the groups' */
	size_t n_entries;
	bool is_inside; /* its bytes lie in other rows */
	const char *unknown_why;
};

struct ladder_groups {
	struct ladder_rows rows;
	struct ladder_entry *entries;
	struct ladder_group *groups;
	size_t n;
};

/* The rows that --focus and --ignore leave; @o may be NULL. Refers to @p. */
int ladder_group_make(const struct profile *p, const struct render_options *o,
                      struct ladder_groups *ret, struct error *err);
void ladder_group_clear(struct ladder_groups *g); /* { 0 } is empty */

/* The sum of figure @key over a group's rows; -1: no row has it. */
int64_t ladder_group_figure(const struct ladder_groups *all, const struct ladder_group *g,
                            const char *key);
