/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a recording by agents has to say beside its stacks: of several processes sums, and
 * tables by pid. */

#include "alloc/recorder.h"
#include "profile/interval.h"

struct result_agent_held { /* of one stack, or of it in one context, or of all */
	struct interval_sum objects, bytes;
	double age_ns;
	double rounding; /* of all: what the allocator takes beyond bytes, as far as known */
};

/* How long after the begin the last look was; a short-lived program was never looked at. */
u64 result_agent_report_looked_ns(const struct alloc_recorder *r);
int result_agent_report_fill(struct alloc_recorder *r, const struct result_agent_held *all,
                             enum alloc_ended ended, const struct alloc_filter *filter,
                             struct report *to, struct error *err);
