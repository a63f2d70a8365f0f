/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the sampling agent costs its target, and that it stays within a budget: the mean
 * between two samples grows where they cost too much, and shrinks again, down to what was
 * asked for. When nothing was asked for it shrinks further where that costs little: a quiet
 * target's few samples would say little. There, memwho's own work and the room in the
 * agent's set are the limits. Where even calls that are no samples cost more than the
 * budget, we leave.
 *
 * Measured is what the agent's visits take by the time stamp counter; calls that do not
 * come there are estimated from the samples' weights, at what they are known to cost
 * (agent_steps.h). Between two looks the agent itself
 * doubles the mean when it has used up what it was granted, so that a target that becomes
 * a hundred times faster costs no more than that.
 */

#include "alloc/engine_agent.h"

/* Into the first control block: what may be spent until the first look. @share 0: all. */
void agent_budget_grant(const struct engine_agent *e, double share, struct agent_control *c);
void agent_budget_begin(struct engine_agent *e, double share);
/* After each look at the counters. *ended: the budget is passed, and the agent is out. */
int agent_budget_work(struct engine_agent *e, enum alloc_ended *ended, struct error *err);
