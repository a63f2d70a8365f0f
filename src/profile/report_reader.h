/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The report out of a pprof file's comments, see pprof_report.h for the text.
 * It is apart from the writer because jansson, which reads JSON here, and
 * base/json.h, which writes it, have functions of the same names.
 */

#include <stddef.h>

#include "base/error.h"
#include "profile/report.h"

struct report_reader {
	struct report raw;   /* values as text */
	struct json_t *meta; /* key -> [title, unit, kind] */
	size_t n_ignored;    /* damaged comments of ours */
};

void report_reader_clear(struct report_reader *r); /* { 0 } is empty */
/* Take one comment in; tables go to @to at once. Others' comments are nothing
 * to us, damaged ones of ours are counted. Fails with -ENOMEM only. */
int report_reader_take(struct report_reader *r, const char *text, struct report *to,
                       struct error *err);
/* Put the figures into @to, when all comments were seen. */
int report_reader_finish(struct report_reader *r, struct report *to, struct error *err);
