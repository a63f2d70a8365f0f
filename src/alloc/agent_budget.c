/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_budget.h"

#include <math.h>
#include <stdlib.h>

#include "alloc/agent_steps.h"
#include "base/clock.h"

#define WINDOW_NS 100000000ull /* between two looks at the rate */

/* Of a mean below the default: samples a second that we read, and blocks in the set. */
#define FINE_SAMPLES 400.0
#define FINE_LIVE    (AGENT_BUCKETS * AGENT_BUCKET_ENTRIES / 8.0)

static double cycles_a_ns(const struct engine_agent *e)
{
#if defined(__x86_64__)
	return (double)(__builtin_ia32_rdtsc() - e->begun_tsc) /
	       (double)(clock_now_ns() - e->begun_ns + 1);
#else
	return 1;
#endif
}

static double visits_ns(const struct engine_agent *e)
{
	return (double)e->counters.cycles / cycles_a_ns(e);
}

/* Of calls that were no visits. Samples whose stacks were lost count as the others. */
static double passing_ns(const struct engine_agent *e)
{
	const double all = (double)e->counters.samples;

	return e->n_read ? agent_steps_passing_ns(e->calls * (all / (double)e->n_read),
	                                          (double)e->counters.freed / fmax(all, 1),
	                                          e->table.cpu_at)
	                 : 0;
}

void agent_budget_grant(const struct engine_agent *e, double share, struct agent_control *c)
{
	const struct budget b = { .share = share, .pace = 1 };

	c->grant = ~0ull;
	if (!(share > 0))
		return;
	c->grant = (u64)(0.25 * budget_a_second_ns(&b) * cycles_a_ns(e));
	c->grant_step = c->grant / 16 + 1;
}

void agent_budget_begin(struct engine_agent *e, double share)
{
	budget_begin(&e->budget, share, clock_now_ns(), budget_cpu_ns(e->tracee->pid));
	e->rated_ns = e->budget.begun_ns;
}

/* Half of the credit, so that what passes without a visit finds the rest. */
static int grant_more(struct engine_agent *e, struct error *err)
{
	const double ns = fmax(e->budget.credit_ns, 0) / 2;
	const double step = budget_a_second_ns(&e->budget) / 100;
	const u64 v[2] = { e->counters.cycles + (u64)(ns * cycles_a_ns(e)),
		           (u64)(step * cycles_a_ns(e)) + 1 };

	e->grant = v[0];
	return inject_write(e->inject,
	                    e->base + AGENT_CODE_BYTES + offsetof(struct agent_data, control) +
	                            offsetof(struct agent_control, grant),
	                    v, sizeof(v), err);
}

/* The finest line that our own work and the set's room allow. Half and twice the limit are
 * as good as it: few samples come at random, and the rate must not follow that. */
static int finest_line(const struct engine_agent *e, u64 wall_ns)
{
	const double samples = (double)(e->counters.samples - e->rated_samples);
	const double share = fmax(samples * 1e9 / (double)wall_ns / FINE_SAMPLES,
	                          (double)e->n_blocks / FINE_LIVE);
	int line = (int)e->rate.now;

	if (!(share > 0))
		line -= AGENT_STEPS_MOST_DOWN;
	else if (share < 0.5 || share > 2)
		line += (int)ceil(AGENT_RATES_OF_TWO * log2(share));
	if (line < (int)e->rate.finest)
		return (int)e->rate.finest;
	return line < AGENT_RATE_FIRST ? line : AGENT_RATE_FIRST;
}

/* Lines to go. Where samples are not what costs, fewer of them are no help. */
static int steps(const struct engine_agent *e, bool overdrawn, double visits, double passing)
{
	const double samples = (double)(e->counters.samples - e->rated_samples);
	const double slow = (double)(e->counters.slow_calls - e->rated_slow);
	const double sampling = agent_steps_of_samples(visits, samples, slow);
	const int n = agent_steps(sampling, visits - sampling + passing, e->budget.share);

	return overdrawn && n > 0 && n < AGENT_STEPS_JUMP ? AGENT_STEPS_JUMP : n;
}

static int move_rate(struct engine_agent *e, bool overdrawn, struct error *err)
{
	const double visits = visits_ns(e) - e->rated_visits_ns;
	const double passing = passing_ns(e) - e->rated_passing_ns;
	const double cpu = e->budget.cpu_ns - e->rated_cpu_ns;
	const u64 now = clock_now_ns(), wall = now - e->rated_ns;
	int line = (int)e->rate.now, finest;

	if (wall < WINDOW_NS && !(overdrawn && wall > WINDOW_NS / 10))
		return 0;
	line += steps(e, overdrawn, budget_share(visits, cpu, (double)wall),
	              budget_share(passing, cpu, (double)wall));
	finest = finest_line(e, wall);
	e->rated_ns = now;
	e->rated_visits_ns += visits;
	e->rated_passing_ns += passing;
	e->rated_cpu_ns += cpu;
	e->rated_samples = e->counters.samples;
	e->rated_slow = e->counters.slow_calls;
	if (line < finest)
		line = finest;
	return engine_agent_set_rate(e, line < AGENT_RATES ? (unsigned)line : AGENT_RATES - 1, err);
}

int agent_budget_work(struct engine_agent *e, enum alloc_ended *ended, struct error *err)
{
	const bool overdrawn = e->counters.cycles > e->grant;
	const bool passed = budget_note(&e->budget, clock_now_ns(), budget_cpu_ns(e->tracee->pid),
	                                visits_ns(e) + passing_ns(e));
	int r;

	if (!(e->budget.share > 0))
		return 0;
	if (passed) {
		*ended = ALLOC_ENDED_BUDGET;
		return 0;
	}
	r = grant_more(e, err);
	return r < 0 ? r : move_rate(e, overdrawn, err);
}
