/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "map/range_set.h"
#include "range_model.h"

static void put(struct range_set *s, uint64_t start, uint64_t end, uint32_t stack)
{
	struct range r = { start, end, 0, { .stack = stack } };
	struct error err;

	assert_int_equal(range_set_insert(s, &r, &err), 0);
}

static void is(const struct range *r, uint64_t start, uint64_t end, uint32_t stack)
{
	assert_non_null(r);
	assert_int_equal(r->start, start);
	assert_int_equal(r->end, end);
	assert_int_equal(r->owner.stack, stack);
}

static void a_hole_cuts_a_range(void **state)
{
	struct range_list gone = { 0 };
	struct range_set s = { 0 };
	struct range_at at;
	struct error err;

	put(&s, 0x1000, 0x9000, 1);
	assert_int_equal(range_set_remove(&s, 0x3000, 0x4000, &gone, &err), 0);
	is(range_set_from(&s, 0, &at), 0x1000, 0x3000, 1);
	is(range_set_next(&s, &at), 0x4000, 0x9000, 1);
	assert_null(range_set_next(&s, &at));
	assert_int_equal(gone.n_items, 1);
	is(gone.items, 0x3000, 0x4000, 1);
	assert_int_equal(s.bytes, 0x7000);
	/* put back, it is one again */
	assert_int_equal(range_set_restore(&s, &gone, 0, &err), 0);
	is(range_set_from(&s, 0, &at), 0x1000, 0x9000, 1);
	assert_int_equal(s.n_ranges, 1);
	range_set_list_clear(&gone);
	range_set_clear(&s);
}

static void the_last_one_owns(void **state)
{
	struct range_set s = { 0 };
	struct range_at at;

	put(&s, 0x1000, 0x5000, 1);
	put(&s, 0x8000, 0x9000, 2);
	put(&s, 0x2000, 0x8000, 3);
	is(range_set_from(&s, 0, &at), 0x1000, 0x2000, 1);
	is(range_set_next(&s, &at), 0x2000, 0x8000, 3);
	is(range_set_next(&s, &at), 0x8000, 0x9000, 2);
	assert_null(range_set_find(&s, 0xfff));
	assert_null(range_set_find(&s, 0x9000));
	is(range_set_find(&s, 0x7fff), 0x2000, 0x8000, 3);
	range_set_clear(&s);
}

static void filling_leaves_what_is_there(void **state)
{
	struct range r = { 0x0, 0xa000, 0, { .stack = 9 } };
	struct range_set s = { 0 };
	struct range_at at;
	struct error err;

	put(&s, 0x1000, 0x2000, 1);
	put(&s, 0x4000, 0x5000, 2);
	assert_int_equal(range_set_fill(&s, &r, &err), 0);
	is(range_set_from(&s, 0, &at), 0, 0x1000, 9);
	is(range_set_next(&s, &at), 0x1000, 0x2000, 1);
	is(range_set_next(&s, &at), 0x2000, 0x4000, 9);
	is(range_set_next(&s, &at), 0x4000, 0x5000, 2);
	is(range_set_next(&s, &at), 0x5000, 0xa000, 9);
	range_set_clear(&s);
}

static void protection_goes_and_comes_back(void **state)
{
	struct range_set s = { 0 };
	struct error err;

	put(&s, 0x1000, 0x9000, 1);
	assert_int_equal(range_set_protect(&s, 0x2000, 0x3000, 5, 7, &err), 0);
	assert_int_equal(s.n_ranges, 3);
	assert_int_equal(range_set_find(&s, 0x2000)->owner.prot, 5);
	assert_int_equal(range_set_protect(&s, 0, 0x10000, 0, 7, &err), 0);
	assert_int_equal(s.n_ranges, 1);
	range_set_clear(&s);
}

static void many_ranges_stay_in_order(void **state)
{
	struct range_set s = { 0 }, copy = { 0 };
	struct error err;

	for (uint64_t i = 0; i < 20000; i++)
		put(&s, (i * 7919 % 20000) << 13, ((i * 7919 % 20000) << 13) + 0x1000, i & 1);
	assert_int_equal(s.n_ranges, 20000);
	assert_int_equal(range_set_copy(&s, &copy, &err), 0);
	assert_int_equal(range_set_remove(&s, 0x2000, 19999ULL << 13, NULL, &err), 0);
	assert_int_equal(s.n_ranges, 2);
	assert_int_equal(copy.n_ranges, 20000);
	is(range_set_find(&copy, 7919ULL << 13), 7919ULL << 13, (7919ULL << 13) + 0x1000, 1);
	range_set_clear(&s);
	range_set_clear(&copy);
}

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void random_operations_agree_with_a_list_of_pages(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct model *m = calloc(1, sizeof(*m));
		struct range_set s = { 0 };
		uint64_t x = seed * 0x9e3779b97f4a7c15;

		assert_non_null(m);
		for (int i = 0; i < 4000; i++) {
			uint64_t random = next_random(&x);
			uint8_t b[6];

			memcpy(b, &random, sizeof(b));
			/* most are small, so that there are many */
			if (random >> 62)
				b[3] &= 3;
			model_step(m, &s, b);
			if (i % 16 == 0)
				model_compare(m, &s);
		}
		model_compare(m, &s);
		range_set_clear(&s);
		free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hole_cuts_a_range),
		cmocka_unit_test(the_last_one_owns),
		cmocka_unit_test(filling_leaves_what_is_there),
		cmocka_unit_test(protection_goes_and_comes_back),
		cmocka_unit_test(many_ranges_stay_in_order),
		cmocka_unit_test(random_operations_agree_with_a_list_of_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
