/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the report of a recording in the agent's exact mode has instead of samples and
 * intervals: counts of all calls, and what was not recorded, in objects and bytes. */

#include "alloc/engine_agent.h"
#include "profile/report.h"

struct result_agent_exact {
	const struct agent_exact_counters *counters;
	const struct agent_exact_sums *sums;
	u64 torn, passed_on, internal_calls, functions;
	u64 held_objects, held_bytes;
};

int result_agent_exact_counts(const struct result_agent_exact *x, struct report *to,
                              struct error *err);
