/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_steps.h"

#include <assert.h>
#include <math.h>

#include "agent/agent_format.h"

#define AIM 0.7 /* of the budget */

/* Always left to samples, of the budget: some hundred a second of 2 % of a processor. */
#define KEPT 0.1

#define LEAST_FREED 0.25

/* What a sample takes, with its stack and its free, in visits that are none: some 2 us by 0.1. */
#define A_SAMPLE 16.0

static_assert((int)AGENT_STEPS_JUMP == 2 * AGENT_RATES_OF_TWO, "four times the mean");
static_assert((int)AGENT_STEPS_MOST_DOWN == (int)AGENT_RATES_OF_TWO, "half the mean");

/* What samples may cost. Calls that pass cost the same at every rate: where they take nearly all
 * of the budget, or it looks so by what few samples say of them, the few samples that cost next to
 * nothing must stay, or nothing would be known in the end. Where even that is too much the
 * budget's credit is used up, and we leave. */
static double aim_of(double passing, double share)
{
	return fmax(AIM * share - passing, KEPT * share);
}

double agent_steps_of_samples(double visits, double samples, double slow)
{
	const double of_samples = A_SAMPLE * samples, others = fmax(slow - samples, 0);

	return of_samples + others > 0 ? visits * of_samples / (of_samples + others) : visits;
}

/* What visits cost goes with the number of samples: the line where it would be aimed at. */
int agent_steps(double visits, double passing, double share)
{
	const double aim = aim_of(passing, share);

	if (!(visits > 0))
		return -AGENT_STEPS_MOST_DOWN;
	/* a little less is as good: it must not go up and down */
	if (visits <= aim)
		return visits > aim / 2
		               ? 0
		               : (int)fmax(ceil(AGENT_RATES_OF_TWO * log2(1.4 * visits / aim)),
		                           -AGENT_STEPS_MOST_DOWN);
	return (int)fmin(ceil(AGENT_RATES_OF_TWO * log2(visits / aim)), 2 * AGENT_STEPS_JUMP);
}

double agent_steps_passing_ns(double calls, double freed_share, bool by_processors)
{
	const double pair = by_processors ? AGENT_PAIR_NS : AGENT_THREADS_PAIR_NS;

	/* blocks of before are freed, too, and small ones not as often as samples are */
	return calls * pair / 2 * (1 + fmin(fmax(freed_share, LEAST_FREED), 1));
}
