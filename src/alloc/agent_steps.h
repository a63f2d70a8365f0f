/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How far the mean between two samples has to move for a budget: lines of the table of rates
 * (agent_rate.h), up for fewer samples.
 */

#include <stdbool.h>

enum agent_steps {
	AGENT_STEPS_JUMP = 8,      /* where more was spent than was granted */
	AGENT_STEPS_MOST_DOWN = 4, /* at once */
};

/* @visits, @passing: what calls that came to the agent took lately, and those that did not; both,
 * and the budget @share, are parts of the target's processor time. @has_credit: of the budget's. */
int agent_steps(double visits, double passing, double share, bool has_credit);
