/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares),
		cmocka_unit_test(what_is_within_goes_on),
		cmocka_unit_test(what_is_above_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
