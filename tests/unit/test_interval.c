/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The interval covers the truth as often as it says: blocks of known sizes are drawn as
 * the agent draws them, with a fixed seed, and it is counted. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "profile/interval.h"
#include "profile/pprof_intervals.h"

enum { RUNS = 4000, MEAN = 512 * 1024 };

static uint64_t state_of_random;

static double uniform(void)
{
	uint64_t z = state_of_random += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return ((double)((z ^ z >> 31) >> 11) + 0.5) / 9007199254740992.0;
}

struct kind {
	double size; /* in means */
	unsigned n;
};

struct sums {
	struct interval_sum bytes, blocks;
	double true_bytes, true_blocks;
};

static void draw(const struct kind *k, struct sums *to)
{
	const double size = k->size * MEAN, p = -expm1(-k->size);

	to->true_bytes += size * k->n;
	to->true_blocks += k->n;
	/* the distance to the next that is taken is geometric */
	for (double at = 0;;) {
		at += 1 + floor(log(uniform()) / log1p(-p));
		if (at > k->n)
			return;
		interval_add_bytes(&to->bytes, size, 1 / p);
		interval_add_blocks(&to->blocks, 1 / p);
	}
}

static int is_in(const struct interval_sum *s, double truth)
{
	double low, high;

	interval_of(s, &low, &high);
	/* of whole sizes summed up */
	return low <= truth * (1 + 1e-9) && truth <= high * (1 + 1e-9);
}

struct covered {
	double bytes, blocks, bias; /* shares; of the mean estimate to the truth, less 1 */
};

static struct covered cover(const struct kind *kinds, size_t n, unsigned runs)
{
	struct covered c = { 0 };
	double sum = 0, truth = 0;

	for (unsigned run = 0; run < runs; run++) {
		struct sums s = { 0 };

		for (size_t i = 0; i < n && kinds[i].n; i++)
			draw(&kinds[i], &s);
		c.bytes += is_in(&s.bytes, s.true_bytes) / (double)runs;
		c.blocks += is_in(&s.blocks, s.true_blocks) / (double)runs;
		sum += s.bytes.estimate;
		truth += s.true_bytes;
	}
	c.bias = sum / truth - 1;
	return c;
}

/* Small blocks: what counts is the number of samples to be expected. A single truth may be
 * covered by a bit more or less, for counts are whole numbers; all together may not. */
static void few_and_many_samples(void **state)
{
	double all = 0;
	unsigned n = 0;

	state_of_random = 1;
	for (double samples = 4; samples < 400; samples *= 1.09, n++) {
		const struct kind k = { 0.002, (unsigned)lround(samples / 0.002) };
		const struct covered c = cover(&k, 1, RUNS / 4);

		assert_true(c.bytes > 0.905 && c.bytes < 0.985);
		assert_true(c.bytes == c.blocks);
		all += c.bytes;
	}
	all /= n;
	assert_true(all > 0.945 && all < 0.96);
}

static void sizes_that_differ(void **state)
{
	static const struct kind cases[][6] = {
		{ { 0.001, 2000 }, { 0.1, 20 }, { 1, 2 }, { 3, 1 } },
		{ { 0.01, 300 }, { 2, 5 } },
		{ { 20, 5 }, { 0.01, 500 } }, /* what is certain does not hide what is not */
		{ { 8, 100 }, { 0.01, 500 } },
		{ { 0.0005, 20000 }, { 0.05, 400 }, { 0.5, 40 }, { 1, 20 }, { 2, 10 }, { 3, 7 } },
		{ { 0.3, 30 }, { 0.6, 15 } },
		{ { 0.0001, 40000 }, { 0.5, 8 } },
	};
	double all = 0;

	state_of_random = 2;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct covered c = cover(cases[i], ARRAY_SIZE(cases[i]), RUNS);

		assert_true(c.bytes > 0.93 && c.bytes < 0.985);
		assert_true(fabs(c.bias) < 0.02);
		all += c.bytes / ARRAY_SIZE(cases);
	}
	assert_true(all > 0.94 && all < 0.97);
}

/* Few large blocks: the truth is one of few numbers, and they are covered too often rather
 * than too seldom. */
static void large_blocks(void **state)
{
	double all = 0;
	unsigned cases = 0;

	state_of_random = 3;
	for (double size = 0.5; size <= 8; size *= 2) {
		for (unsigned n = 10; n < 200; n *= 2, cases++) {
			const struct kind k = { size, n };
			const struct covered c = cover(&k, 1, RUNS / 4);

			assert_true(c.bytes > 0.91);
			assert_true(c.bytes == c.blocks);
			all += c.bytes;
		}
	}
	assert_true(all / cases > 0.95);
}

/* The sums of stacks are the sum's. */
static void sums_add(void **state)
{
	static const struct kind parts[] = { { 0.001, 3000 }, { 0.2, 20 }, { 2, 6 } };
	unsigned inside = 0;

	state_of_random = 4;
	for (unsigned run = 0; run < RUNS; run++) {
		struct sums part[ARRAY_SIZE(parts)] = { 0 }, whole = { 0 };

		for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
			draw(&parts[i], &part[i]);
			whole.true_bytes += part[i].true_bytes;
			interval_add(&whole.bytes, &part[i].bytes);
		}
		inside += is_in(&whole.bytes, whole.true_bytes);
	}
	assert_true(inside > 0.935 * RUNS && inside < 0.97 * RUNS);
}

static void known_limits(void **state)
{
	struct interval_sum s = { .estimate = 1000, .variance = 1e6, .samples = 1 };
	double low, high;

	/* gamma(3/2): 0.1079 and 4.674 */
	interval_of(&s, &low, &high);
	assert_true(low > 80 && low < 120 && high > 4600 && high < 4720);
	/* 10,000 samples: the normal interval */
	s = (struct interval_sum){ .estimate = 1e7, .variance = 1e10, .samples = 10000 };
	interval_of(&s, &low, &high);
	assert_true(fabs(low - (1e7 - 1.96e5)) < 2000 && fabs(high - (1e7 + 1.96e5)) < 2000);
	/* a large block that was seen is what it is */
	s = (struct interval_sum){ 0 };
	interval_add_bytes(&s, 20. * MEAN, 1 / -expm1(-20));
	interval_of(&s, &low, &high);
	assert_true(low == 20. * MEAN && high < 20. * MEAN * 1.001);
	/* all counted */
	s = (struct interval_sum){ .estimate = 500, .seen = 500, .samples = 5 };
	interval_of(&s, &low, &high);
	assert_true(low == 500 && high == 500);
	/* what a file may say */
	s = (struct interval_sum){ .estimate = -5, .seen = 1e300, .variance = -1, .samples = 0 };
	interval_of(&s, &low, &high);
	assert_true(low == -5 && high == -5);
}

/* Through a profile's whole numbers and back. */
static void in_a_profile(void **state)
{
	struct profile_type types[PROFILE_HEAP_TYPES + INTERVAL_TYPES];
	int64_t values[PROFILE_HEAP_TYPES + INTERVAL_TYPES] = { 0 };
	struct interval_sum bytes = { 0 }, blocks = { 0 }, none = { 0 }, back;
	cleanup(profile_freep) struct profile *p = NULL;
	struct interval_types t;
	double low, high, l, h;
	struct error err;

	memcpy(types, profile_heap_types, sizeof(profile_heap_types));
	memcpy(types + PROFILE_HEAP_TYPES, interval_profile_types, sizeof(interval_profile_types));
	assert_int_equal(profile_new(&p, types, ARRAY_SIZE(types), PROFILE_INUSE_SPACE, &err), 0);
	for (unsigned i = 0; i < 7; i++) {
		interval_add_bytes(&bytes, 100, 1 / -expm1(-100. / MEAN));
		interval_add_blocks(&blocks, 1 / -expm1(-100. / MEAN));
	}
	values[PROFILE_INUSE_SPACE] = llround(bytes.estimate);
	values[PROFILE_INUSE_OBJECTS] = llround(blocks.estimate);
	interval_values(&none, &none, &blocks, &bytes, values + PROFILE_HEAP_TYPES);
	for (unsigned type = PROFILE_INUSE_OBJECTS; type <= PROFILE_INUSE_SPACE; type++) {
		const struct interval_sum *was = type == PROFILE_INUSE_SPACE ? &bytes : &blocks;

		assert_true(interval_find(p, type, &t));
		back = interval_sum_of(p, &t, values);
		assert_true(back.samples == 7);
		interval_of(was, &low, &high);
		interval_of(&back, &l, &h);
		assert_true(fabs(l / low - 1) < 1e-3 && fabs(h / high - 1) < 1e-3);
	}
	assert_false(interval_find(p, PROFILE_HEAP_TYPES, &t));
	assert_true(interval_is_helper(profile_type_at(p, PROFILE_HEAP_TYPES)));
	assert_false(interval_is_helper(profile_type_at(p, PROFILE_INUSE_SPACE)));
}

static int take_line(void *arg, const char *text, struct error *err)
{
	char(*lines)[400] = arg;
	size_t n = 0;

	(void)err;
	while (lines[n][0])
		n++;
	assert_true(n < 4);
	snprintf(lines[n], sizeof(lines[n]), "%s", text);
	return 0;
}

/* For whoever asks another tool for the comments of a pprof file. */
static void in_comments(void **state)
{
	struct profile_type types[PROFILE_HEAP_TYPES + INTERVAL_TYPES];
	int64_t values[PROFILE_HEAP_TYPES + INTERVAL_TYPES] = { 0 };
	struct interval_sum bytes = { 0 }, blocks = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;
	char lines[5][400] = { 0 };
	uint32_t frames[2];
	struct error err;

	memcpy(types, profile_heap_types, sizeof(profile_heap_types));
	memcpy(types + PROFILE_HEAP_TYPES, interval_profile_types, sizeof(interval_profile_types));
	assert_int_equal(profile_new(&p, types, ARRAY_SIZE(types), PROFILE_INUSE_SPACE, &err), 0);
	assert_int_equal(profile_frame_named(p, "leaf\n", &frames[0], &err), 0);
	assert_int_equal(profile_frame_named(p, "main", &frames[1], &err), 0);
	interval_add_bytes(&bytes, 64, 1 / -expm1(-64. / MEAN));
	interval_add_blocks(&blocks, 1 / -expm1(-64. / MEAN));
	values[PROFILE_INUSE_SPACE] = llround(bytes.estimate);
	interval_values(&blocks, &bytes, &blocks, &bytes, values + PROFILE_HEAP_TYPES);
	assert_int_equal(profile_add(p, frames, 2, NULL, 0, values, &err), 0);
	assert_int_equal(profile_add(p, frames + 1, 1, NULL, 0, values, &err), 0);
	assert_int_equal(pprof_intervals_write(p, take_line, lines, &err), 0);
	assert_non_null(strstr(lines[0], "memwho-interval: inuse_space 1048640 bytes, 95 %: "));
	assert_non_null(strstr(lines[0], ", 2 samples: all together"));
	assert_non_null(strstr(lines[1], "memwho-interval: inuse_space 524320 bytes, 95 %: "));
	assert_non_null(strstr(lines[1], ", 1 sample: leaf\\x0a < main"));
	assert_int_equal(lines[3][0], 0);
	/* what was counted has none */
	memset(lines, 0, sizeof(lines));
	assert_int_equal(profile_set_default_type(p, PROFILE_HEAP_TYPES), 0);
	assert_int_equal(pprof_intervals_write(p, take_line, lines, &err), 0);
	assert_int_equal(lines[0][0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_and_many_samples), cmocka_unit_test(sizes_that_differ),
		cmocka_unit_test(large_blocks),         cmocka_unit_test(sums_add),
		cmocka_unit_test(known_limits),         cmocka_unit_test(in_a_profile),
		cmocka_unit_test(in_comments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
