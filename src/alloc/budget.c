/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/budget.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

#define LEAST_PACE   0.1 /* processors */
#define CREDIT_S     0.5
#define PASSED_S     0.2
#define RING_STEP_NS 100000000ull
#define WINDOW_NS    5000000000ull
#define LATELY_NS    1000000000ull

double budget_cpu_ns(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		return -1;
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double budget_share(double cost_ns, double cpu_ns, double wall_ns)
{
	const double of = fmax(cpu_ns, wall_ns * LEAST_PACE);

	return of > 0 ? cost_ns / of : 0;
}

double budget_a_second_ns(const struct budget *b)
{
	return b->share * 1e9 * fmax(b->pace, LEAST_PACE);
}

void budget_begin(struct budget *b, double share, uint64_t now_ns, double cpu_ns)
{
	*b = (struct budget){ .share = share,
		              .begun_ns = now_ns,
		              .noted_ns = now_ns,
		              .began_cpu_ns = cpu_ns,
		              .began_self_ns = (double)clock_self_cpu_ns(),
		              .pace = 1, /* until it is seen */
		              .n_ring = 1 };
	b->ring[0].at_ns = now_ns;
	b->credit_ns = CREDIT_S * budget_a_second_ns(b);
}

/* The window that ends now: its oldest look is 5 s old at most. */
static void note_window(struct budget *b, uint64_t now_ns)
{
	unsigned oldest = b->n_ring > BUDGET_RING ? b->n_ring - BUDGET_RING : 0;
	double share;

	while (oldest + 1 < b->n_ring && now_ns - b->ring[oldest % BUDGET_RING].at_ns > WINDOW_NS)
		oldest++;
	share = budget_share(b->cost_ns - b->ring[oldest % BUDGET_RING].cost_ns,
	                     b->cpu_ns - b->ring[oldest % BUDGET_RING].cpu_ns,
	                     (double)(now_ns - b->ring[oldest % BUDGET_RING].at_ns));
	/* a window that has just begun says nothing yet */
	if (now_ns - b->ring[oldest % BUDGET_RING].at_ns >= WINDOW_NS / 10 * 9 && share > b->worst)
		b->worst = share;
	if (now_ns - b->ring[(b->n_ring - 1) % BUDGET_RING].at_ns < RING_STEP_NS)
		return;
	b->ring[b->n_ring % BUDGET_RING].at_ns = now_ns;
	b->ring[b->n_ring % BUDGET_RING].cpu_ns = b->cpu_ns;
	b->ring[b->n_ring % BUDGET_RING].cost_ns = b->cost_ns;
	b->n_ring++;
}

bool budget_note(struct budget *b, uint64_t now_ns, double cpu_ns, double cost_ns)
{
	const double wall = (double)(now_ns - b->noted_ns), weight = fmin(wall / 3e8, 1);
	double used;

	if (wall <= 0 || cpu_ns < 0)
		return false;
	used = fmax(cpu_ns - b->began_cpu_ns - b->cpu_ns, 0);
	b->pace += (used / wall - b->pace) * weight;
	b->credit_ns += b->share * fmax(used, wall * LEAST_PACE) - (cost_ns - b->cost_ns);
	b->credit_ns = fmin(b->credit_ns, CREDIT_S * budget_a_second_ns(b));
	b->cpu_ns += used;
	b->cost_ns = cost_ns;
	b->noted_ns = now_ns;
	note_window(b, now_ns);
	return b->share > 0 && b->credit_ns < -PASSED_S * budget_a_second_ns(b);
}

void budget_add(struct budget *to, const struct budget *b)
{
	const bool is_first = !to->begun_ns;

	to->share = b->share;
	if (is_first || b->begun_ns < to->begun_ns) {
		to->begun_ns = b->begun_ns;
		to->began_self_ns = b->began_self_ns;
	}
	to->noted_ns = b->noted_ns > to->noted_ns ? b->noted_ns : to->noted_ns;
	to->cpu_ns += b->cpu_ns;
	to->cost_ns += b->cost_ns;
	to->worst = fmax(to->worst, b->worst);
}

double budget_lately(const struct budget *b)
{
	unsigned i = b->n_ring - 1;

	if (!b->n_ring)
		return 0;
	while (i && b->n_ring - i < BUDGET_RING &&
	       b->noted_ns - b->ring[i % BUDGET_RING].at_ns < LATELY_NS)
		i--;
	return budget_share(b->cost_ns - b->ring[i % BUDGET_RING].cost_ns,
	                    b->cpu_ns - b->ring[i % BUDGET_RING].cpu_ns,
	                    (double)(b->noted_ns - b->ring[i % BUDGET_RING].at_ns));
}

void budget_words(double share, char ret[BUDGET_WORDS])
{
	if (share > 10)
		snprintf(ret, BUDGET_WORDS, "more than 1,000 %%");
	else
		snprintf(ret, BUDGET_WORDS, "about %.3g %%", 100 * share);
}

int budget_report(const struct budget *b, struct report *to, struct error *err)
{
	const double wall = (double)(b->noted_ns - b->begun_ns);
	const double share = budget_share(b->cost_ns, b->cpu_ns, wall);
	const double own = (double)clock_self_cpu_ns() - b->began_self_ns;
	int r = 0;

	if (b->share > 0)
		r = report_double(to, "budget_percent", "budget", 100 * b->share, "percent", err);
	if (r == 0)
		r = report_double(to, "cost_percent", "cost, of the target's processor time",
		                  100 * share, "percent", err);
	if (r == 0)
		r = report_double(to, "worst_cost_percent", NULL, 100 * fmax(b->worst, share),
		                  "percent", err);
	if (r == 0)
		r = report_double(to, "cost_cpu_seconds", NULL, b->cost_ns / 1e9, "s", err);
	if (r == 0)
		r = report_double(to, "target_cpu_seconds", NULL, b->cpu_ns / 1e9, "s", err);
	if (r == 0)
		r = report_double(to, "memwho_percent", NULL,
		                  100 * budget_share(own, b->cpu_ns, wall), "percent", err);
	/* beside it, on whatever processor it ran: of a target that sleeps, it may be many times
	 * what that uses, and still be next to nothing */
	return r < 0 ? r
	             : report_double(to, "memwho_processor_percent",
	                             "beside it memwho itself, of one processor",
	                             wall > 0 ? 100 * own / wall : 0, "percent", err);
}
