/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent_format.h"
#include "alloc/agent_steps.h"
#include "alloc/budget.h"

#define MS 1000000ull

static void shares(void **state)
{
	assert_float_equal(budget_share(1e7, 1e9, 1e9), 0.01, 1e-9);
	/* of two processors, and of one that sleeps */
	assert_float_equal(budget_share(1e7, 2e9, 1e9), 0.005, 1e-9);
	assert_float_equal(budget_share(1e6, 0, 1e9), 0.01, 1e-9);
	assert_float_equal(budget_share(1, 0, 0), 0, 1e-9);
	assert_true(budget_cpu_ns(getpid()) >= 0);
	assert_true(budget_cpu_ns(1 << 22) < 0);
}

/* Spends @share of what the target uses, in looks of 10 ms; how long it may. */
static double seconds_until_passed(struct budget *b, double pace, double share)
{
	uint64_t now = b->noted_ns;
	double cpu = b->began_cpu_ns + b->cpu_ns, cost = b->cost_ns;

	for (unsigned i = 1; i <= 6000; i++) {
		now += 10 * MS;
		cpu += pace * 10 * MS;
		cost += share * pace * 10 * MS;
		if (budget_note(b, now, cpu, cost))
			return i / 100.0;
	}
	return -1;
}

static void what_is_within_goes_on(void **state)
{
	struct budget b;

	budget_begin(&b, 0.02, 1000 * MS, 5e9);
	assert_true(seconds_until_passed(&b, 0.5, 0.0199) < 0);
	assert_float_equal(b.worst, 0.0199, 0.0002);
	/* without a budget everything is */
	budget_begin(&b, 0, 1000 * MS, 5e9);
	assert_true(seconds_until_passed(&b, 1, 0.9) < 0);
}

/* However much is spent at once, 5 s have not cost 1.2 budgets when it is noticed. */
static void what_is_above_ends(void **state)
{
	static const double shares[] = { 0.022, 0.03, 0.1, 0.4 };

	for (unsigned i = 0; i < sizeof(shares) / sizeof(*shares); i++) {
		struct budget b;
		double before, s;

		budget_begin(&b, 0.02, 1000 * MS, 5e9);
		assert_true(seconds_until_passed(&b, 1, 0.005) < 0);
		before = b.cost_ns;
		s = seconds_until_passed(&b, 1, shares[i]);
		assert_true(s > 0);
		if (s < 5)
			assert_true(b.cost_ns - before < 1.2 * 0.02 * 5e9);
		assert_true(b.worst < 1.2 * 0.02);
	}
}

static uint64_t random_state = 88172645463325252ull;

static double uniform(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

/* How many there are when @mean are to be expected. */
static unsigned poisson(double mean)
{
	unsigned n = 0;

	if (mean > 100)
		return (unsigned)fmax(0,
		                      mean + sqrt(mean * 12) * (uniform() + uniform() - 1) * 0.7);
	for (double p = uniform(); p > exp(-mean); n++)
		p *= uniform();
	return n;
}

/*
 * A thread that allocates blocks of @size so often that calls which pass alone take @passing of its
 * time, beside a budget of 2 %, for half a minute. What memwho knows of them is what samples stand
 * for. It looks at it each 0.1 s, in which the thread runs for @ran. The fewest samples of any
 * second from the third on; 0 when it leaves.
 */
static unsigned fewest_samples(double passing, double size, double ran, double *worst)
{
	const double pair_ns = 4, visit_ns = 2000, window_ns = ran * 1e8,
		     calls = passing * window_ns / pair_ns;
	unsigned fewest = ~0u, second = 0;
	struct budget b;
	double cost = 0;
	int line = 0;

	budget_begin(&b, 0.02, 1000 * MS, 0);
	for (unsigned i = 1; i <= 300; i++) {
		const double mean = 524288 * exp2((double)line / AGENT_RATES_OF_TWO);
		const double p = -expm1(-size / mean);
		const unsigned n = poisson(calls * p);
		const double visits = n * visit_ns, seen = n / p * pair_ns;

		cost += visits + seen;
		if (budget_note(&b, (1000 + i * 100) * MS, i * window_ns, cost))
			return 0;
		line += agent_steps(visits / window_ns, seen / window_ns, 0.02);
		line = line < 0 ? 0 : line;
		second += n;
		if (i % 10)
			continue;
		if (i > 20 && second < fewest)
			fewest = second;
		second = 0;
	}
	*worst = b.worst;
	return fewest;
}

/* A target whose calls alone take most of the budget, or nearly nothing of it, whatever its blocks:
 * there are samples to the end, and it is within the budget. */
static void some_samples_stay(void **state)
{
	static const double passing[] = { 0.001, 0.008, 0.013, 0.0145, 0.0165, 0.018 };
	static const double sizes[] = { 40, 600, 3000 };

	for (unsigned i = 0; i < 2 * 3 * sizeof(passing) / sizeof(*passing); i++) {
		const double pass = passing[i / 6], size = sizes[i / 2 % 3], ran = i % 2 ? 0.3 : 1;
		/* at a mean of 512 KiB, most of them */
		const double expected = 0.3 * ran * pass * 1e9 / 4 * size / 524288;
		const double enough = expected < 20 ? 0 : fmin(expected, 100 * ran);
		double worst;
		const unsigned n = fewest_samples(pass, size, ran, &worst);

		if (!(n >= enough) || worst > 1.2 * 0.02)
			print_error("%g of blocks of %g: %u samples, %g\n", pass, size, n, worst);
		assert_true(n >= enough);
		assert_true(worst <= 1.2 * 0.02);
	}
}

static void what_passes(void **state)
{
	/* all is freed again; nothing is; by the threads' countdowns */
	assert_float_equal(agent_steps_passing_ns(1e6, 1, true), 1e6 * AGENT_PAIR_NS, 1);
	assert_float_equal(agent_steps_passing_ns(1e6, 3, true), 1e6 * AGENT_PAIR_NS, 1);
	assert_true(agent_steps_passing_ns(1e6, 0, true) < 0.7e6 * AGENT_PAIR_NS);
	assert_true(agent_steps_passing_ns(1e6, 0, true) > 0.5e6 * AGENT_PAIR_NS);
	assert_float_equal(agent_steps_passing_ns(1e6, 1, false), 1e6 * AGENT_THREADS_PAIR_NS, 1);
}

static void what_samples_cost(void **state)
{
	/* all that came were samples; few of many; none, but for frees that had to be looked at */
	assert_float_equal(agent_steps_of_samples(0.01, 50, 50), 0.01, 1e-9);
	assert_true(agent_steps_of_samples(0.01, 50, 500) > 0.005);
	assert_true(agent_steps_of_samples(0.01, 8, 7000) < 0.0005);
	assert_float_equal(agent_steps_of_samples(0.01, 0, 500), 0, 1e-9);
	assert_float_equal(agent_steps_of_samples(0.01, 0, 0), 0.01, 1e-9);
	assert_float_equal(agent_steps_of_samples(0.01, 51, 50), 0.01, 1e-9);
}

static void rates_move(void **state)
{
	/* nothing was seen; within the aim; too much */
	assert_int_equal(agent_steps(0, 0, 0.02), -AGENT_STEPS_MOST_DOWN);
	assert_int_equal(agent_steps(0.01, 0, 0.02), 0);
	assert_int_equal(agent_steps(0.0279, 0, 0.02), AGENT_RATES_OF_TWO);
	assert_int_equal(agent_steps(10, 0.019, 0.02), 2 * AGENT_STEPS_JUMP);
	assert_in_range(-agent_steps(0.003, 0, 0.02), 1, AGENT_STEPS_MOST_DOWN);
	/* more passes than the budget is: still some */
	assert_true(agent_steps(0.0019, 0.05, 0.02) <= 0);
}

/* What is said when it has left: the last second, not what was cheap before. */
static void what_was_lately(void **state)
{
	struct budget b;
	char words[BUDGET_WORDS];

	budget_begin(&b, 0.02, 1000 * MS, 5e9);
	assert_float_equal(budget_lately(&b), 0, 1e-9);
	assert_true(seconds_until_passed(&b, 1, 0.001) < 0);
	assert_true(seconds_until_passed(&b, 1, 0.025) > 0);
	assert_float_equal(budget_lately(&b), 0.025, 0.001);
	/* at once: all there was */
	budget_begin(&b, 0.02, 1000 * MS, 5e9);
	assert_true(budget_note(&b, 1100 * MS, 5e9 + 1e8, 5e7));
	assert_float_equal(budget_lately(&b), 0.5, 0.001);
	budget_words(0.144, words);
	assert_string_equal(words, "about 14.4 %");
	budget_words(902, words);
	assert_string_equal(words, "more than 1,000 %");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares),
		cmocka_unit_test(what_is_within_goes_on),
		cmocka_unit_test(what_is_above_ends),
		cmocka_unit_test(what_was_lately),
		cmocka_unit_test(some_samples_stay),
		cmocka_unit_test(what_passes),
		cmocka_unit_test(what_samples_cost),
		cmocka_unit_test(rates_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
