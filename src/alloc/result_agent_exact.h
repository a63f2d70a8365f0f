/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the report of a recording in the agent's exact mode has instead of samples and
 * intervals: counts of all calls, and what was not recorded, in objects and bytes. */

#include "alloc/engine_agent.h"
#include "profile/report.h"

int result_agent_exact_counts(const struct engine_agent *e, u64 held_objects, u64 held_bytes,
                              struct report *to, struct error *err);
