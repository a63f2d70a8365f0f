/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* How many captures of which target ended how, for /metrics. Bounded: what is above
 * is counted for the target "other". */

#include "serve/metrics_page.h"

struct tally {
	struct tally_entry *entries;
	size_t n, cap;
};
void tally_clear(struct tally *t); /* { 0 } is empty */

/* @outcome: static; @id: of the capture in the spool, NULL: not kept. */
void tally_add(struct tally *t, const char *target, const char *trigger, const char *outcome,
               const char *id);
/* As the page wants them; malloc'ed, its texts borrowed until the next tally_add(). */
int tally_rows(const struct tally *t, struct metrics_page_captures **ret, struct error *err);
