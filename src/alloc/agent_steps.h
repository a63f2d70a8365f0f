/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What calls cost that pass the agent, and how far the mean between two samples has to move for a
 * budget: lines of the table of rates (agent_rate.h), up for fewer samples.
 */

#include <stdbool.h>

enum agent_steps {
	AGENT_STEPS_JUMP = 8,      /* where more was spent than was granted */
	AGENT_STEPS_MOST_DOWN = 4, /* at once */
};

/* Of what @visits cost: what fewer samples would spare. @slow: calls to allocate that came to the
 * agent, which are @samples and what has no fast way through it, as many a realloc. */
double agent_steps_of_samples(double visits, double samples, double slow);

/* @visits: what samples took lately; @passing: calls that were none; both, and the budget @share,
 * are parts of the target's processor time. */
int agent_steps(double visits, double passing, double share);

/* Of a malloc and its free, both no samples; ns (bench/agent.py: 2.2 to 2.5 where countdowns are
 * the processors', 3 to 4 where they are the threads'). Half of it is the free's. */
#define AGENT_PAIR_NS         2.5
#define AGENT_THREADS_PAIR_NS 4.0

/* What @calls to allocate, and the frees of what they allocated, have taken. @freed_share: of their
 * blocks, those that were freed one by one; what goes with a memory context does not come by. */
double agent_steps_passing_ns(double calls, double freed_share, bool by_processors);
