/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Files and rows are made to agree when the spool is opened. Part of spool.c. */

#include "serve/spool_index.h"

/* Unfinished files go, whole files without a row get one (no older than a day, by what the
 * clock says), rows without a file go; *counts says how many. @lived_ns: the spool's own time
 * now, @unix_ns the wall clock's. */
int spool_recover(int top, struct spool_index *index, int64_t lived_ns, int64_t unix_ns,
                  struct spool_counts *counts, struct error *err);

static inline int64_t spool_recover_between(int64_t low, int64_t x, int64_t high)
{
	return x < low ? low : x > high ? high : x;
}
