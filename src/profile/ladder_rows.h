/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The rows of a ladder, read back out of a profile's report (map/ladder.h says
 * which tables there are): what draws a ladder, compares two, or watches one
 * grow starts here. The surprising rule: the texts are borrowed from the
 * profile and foreign (thread names, paths), whoever saved it chose them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "profile/profile.h"

struct ladder_row {
	const char *kind, *name, *detail, *evidence, *inside, *unknown_why, *path;
	const char *figures; /* "dirty_bytes=4096 ..."; ladder_rows_figure() */
	int64_t virtual_bytes, resident_bytes, reserved_bytes, swap_bytes, pss_bytes;
	int64_t huge_bytes, file_bytes, locked_bytes;
	int64_t in_use_bytes, cached_bytes; /* -1: not known */
	int64_t ranges, checked, inconsistent;
	int64_t pid; /* 0: not known */
};

struct ladder_rows {
	struct ladder_row *items;
	size_t n;
};

/* Is this profile a ladder? */
bool ladder_rows_is(const struct profile *p);

/* -EINVAL: no ladder. A number that is missing is 0 (in_use_bytes and
 * cached_bytes: -1), a text that is missing "". */
int ladder_rows_make(const struct profile *p, struct ladder_rows *ret, struct error *err);
void ladder_rows_clear(struct ladder_rows *r); /* { 0 } is empty */

/* Of @r's figures: the integer of figure @key, or @missing. */
int64_t ladder_rows_total(const struct profile *p, const char *key, int64_t missing);

/* The next "key=number" of a row's figures; *pos is the row's text at first. False at the end. */
bool ladder_rows_figure(const char **pos, char *key, size_t size, int64_t *value);

/* The kind's memory comes from an allocator or a language: it has an "in use". */
bool ladder_rows_is_heap(const char *kind);

/* Bytes of heaps that are resident, and in use by the application: without
 * thread caches, and without heaps inside others. *at_least: some heap's in use
 * is not known. */
void ladder_rows_heaps(const struct ladder_rows *r, int64_t *resident, int64_t *application,
                       bool *at_least);

/* Cells of any of the report's tables by name: "" and @missing where there is none. */
const struct report_table *ladder_rows_table(const struct report *r, const char *key);
const char *ladder_rows_text(const struct report_table *t, size_t row, const char *column);
int64_t ladder_rows_int(const struct report_table *t, size_t row, const char *column,
                        int64_t missing);
