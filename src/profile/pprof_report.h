/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The report as comments of a pprof file. A person who asks another tool for
 * the comments reads "memwho: key=value"; the titles, units and kinds come in
 * one "memwho-figures: JSON", tables in "memwho-table: JSON", which hold a few
 * hundred rows each and name the same table again for the next ones.
 * Backslashes, control bytes and, in keys, '=' are written as \xNN.
 */

#include "base/error.h"
#include "profile/report.h"

/* Call @line for each comment, NUL-terminated, valid as long as the call. */
int pprof_report_write(const struct report *r,
                       int (*line)(void *arg, const char *text, struct error *err), void *arg,
                       struct error *err);
