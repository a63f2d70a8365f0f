// SPDX-License-Identifier: GPL-2.0-or-later
/* What of alloc/ and capture/ needs no privilege: conditions, growth, the guard's
 * arithmetic, words of the result. */
#include <errno.h>
#include <math.h>

#include "alloc/before.h"
#include "alloc/guard.h"
#include "alloc/tracee.h"
#include "capture/capture.h"
#include "capture/growth.h"
#include "profile/folded.h"
#include "profile_check.h"

static void conditions_are_read(void **state)
{
	static const struct {
		const char *text;
		struct capture_condition means;
	} right[] = {
		{ "rss>2G", { CAPTURE_RSS, false, 2ULL << 30 } },
		{ "rss<1500", { CAPTURE_RSS, true, 1500 } },
		{ "held>100M", { CAPTURE_HELD, false, 100ULL << 20 } },
		{ "held>3kB", { CAPTURE_HELD, false, 3 << 10 } },
		{ "held>1TiB", { CAPTURE_HELD, false, 1ULL << 40 } },
	};
	static const char *const wrong[] = {
		"",        "rss",     "rss>",     "rss>x",   "rss>-1", "vsz>1G",          "rss=1G",
		"heldx>1", "rss>1G2", "rss>1.5G", "rss> 1G", ">1G",    "rss>17179869184G"
	};

	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		struct capture_condition c;

		check_ok(capture_condition_parse(right[i].text, &c, &err));
		assert_int_equal(c.quantity, right[i].means.quantity);
		assert_int_equal(c.below, right[i].means.below);
		assert_int_equal(c.bytes, right[i].means.bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct capture_condition c = { .bytes = 77 };
		struct error err = { 0 };

		assert_int_equal(capture_condition_parse(wrong[i], &c, &err), -EINVAL);
		assert_int_equal(c.bytes, 77);
		assert_true(err.hint[0]);
	}
}

static void every_end_has_its_word(void **state)
{
	static const char *const words[] = { "running", "duration", "signal", "condition",
		                             "exit",    "exec",     "guard",  "budget" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		assert_string_equal(alloc_ended_text((enum alloc_ended)i), words[i]);
	assert_string_equal(alloc_ended_text((enum alloc_ended)ARRAY_SIZE(words)), "unknown");
	assert_string_equal(alloc_ended_text((enum alloc_ended) - 1), "unknown");
}

/* ---- growth ---- */

static void hold(struct profile *p, const char *name, int64_t bytes)
{
	int64_t v[] = { 1, bytes, 1, bytes };
	uint32_t frame = check_named(p, name);

	check_ok(profile_add(p, &frame, 1, NULL, 0, v, &err));
}

static void expect_type(const struct profile *p, const char *type, const char *expected)
{
	cleanup_free char *text = NULL;
	int index = profile_find_type(p, type);
	size_t len;

	assert_true(index >= 0);
	check_written(&text, &len, folded_write(p, index, to, &err));
	assert_string_equal(text, expected);
}

static void growth_is_held_now_less_held_before(void **state)
{
	cleanup(profile_freep) struct profile *before = check_heap_profile();
	cleanup(profile_freep) struct profile *now = check_heap_profile();
	cleanup(profile_freep) struct profile *first = NULL, *then = NULL;

	hold(before, "shrinks", 500);
	hold(before, "stays", 40);
	hold(before, "goes", 7);
	hold(now, "stays", 40);
	hold(now, "shrinks", 300);
	hold(now, "comes", 9);
	check_ok(growth_make(NULL, now, &first, &err));
	expect_type(first, "growth_space", "comes 9\nshrinks 300\nstays 40\n");
	check_ok(growth_make(before, now, &then, &err));
	expect_type(then, "inuse_space", "comes 9\nshrinks 300\nstays 40\n");
	for (size_t i = 0; i < profile_n_samples(then); i++) {
		struct profile_sample s = profile_sample_at(then, i);
		const char *name = profile_text(then, profile_frame_at(then, s.frames[0])->name);
		int64_t grew = s.values[profile_find_type(then, "growth_space")];

		assert_int_equal(grew, !strcmp(name, "comes")     ? 9
		                       : !strcmp(name, "shrinks") ? -200
		                       : !strcmp(name, "goes")    ? -7
		                                                  : 0);
	}
	assert_int_equal(profile_n_samples(then), 4);
}

static void growth_needs_what_is_held(void **state)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct profile_type cpu = { "cpu", "nanoseconds" };
	struct profile *grown = NULL;
	struct error why = { 0 };

	check_ok(profile_new(&p, &cpu, 1, 0, &err));
	assert_int_equal(growth_make(NULL, p, &grown, &why), -EINVAL);
	assert_null(grown);
}

/* ---- guard ---- */

static const struct calibrate_costs costs = {
	.count = 1000, .entry = 1000, .allocation = 5000, .frame = 100
};

/* A thread that calls @rate times a second when nobody looks, for one second
 * in which each hit costs @ns more: every second one an allocation of 20 frames. */
static struct guard_sample busy(double rate, double ns)
{
	struct guard_sample s = { .wall_ns = 1e9 };

	s.busiest_hits = (u64)(1e9 / (1e9 / rate + ns));
	s.hits = 2 * s.busiest_hits; /* another thread does as much */
	s.allocations = s.hits / 2;
	s.walks = s.allocations / 16;
	s.frames = 20 * s.walks;
	return s;
}

static void near(double got, double wanted)
{
	if (fabs(got - wanted) > wanted / 100)
		fail_msg("%g instead of %g", got, wanted);
}

static void counting_tells_what_recording_costs(void **state)
{
	static const double rates[] = { 1000, 1e5, 1e6, 2e7 };
	double each = 1000 * 0.5 + (5000 + 20 * 100) * 0.5, pace;

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		struct guard_sample counted = busy(rates[i], costs.count);
		struct guard_sample recorded = busy(rates[i], each);
		double true_slowdown = 1 + rates[i] * each / 1e9;

		near(guard_estimate(&costs, &counted, &pace), true_slowdown);
		near(pace, rates[i]);
		/* 20 calls in a microsecond: where a second is nothing but hits */
		if (true_slowdown < 50)
			near(guard_recorded(&costs, &recorded), true_slowdown);
		else
			assert_true(guard_recorded(&costs, &recorded) >= 50);
	}
}

static void nothing_and_too_much_are_finite(void **state)
{
	struct guard_sample s = { .wall_ns = 1e9 };
	double pace;

	assert_true(guard_estimate(&costs, &s, &pace) == 1);
	assert_false(guard_is_beyond(&costs, &s));
	assert_true(pace == 0);
	assert_true(guard_recorded(&costs, &s) == 1);
	/* more hits than fit: the costs were measured too high */
	s.busiest_hits = s.hits = s.allocations = 10000000;
	assert_true(guard_estimate(&costs, &s, &pace) > 1000);
	/* which is no figure for people */
	assert_true(guard_is_beyond(&costs, &s));
	assert_true(isfinite(pace));
	near(guard_recorded(&costs, &s), 1000);
}

/* What was there before the attach can only become less than at the first look: at the first that
 * could read it, or nothing would ever have been there. */
static void looks_that_read_nothing(void **state)
{
	struct tracee t = { .before = { .is_fresh = false } };
	const struct before_held none = { .rounding = 0 };

	before_take(&t, &none);
	assert_false(t.before.is_known);
	t.before.is_fresh = true;
	t.before.live = 1 << 20;
	before_take(&t, &none);
	assert_true(t.before.is_known);
	assert_true(t.before.bytes == 1 << 20 && t.before.unsampled == 0);
	/* what comes later is younger */
	t.before.live = 3 << 20;
	before_take(&t, &none);
	assert_true(t.before.bytes == 1 << 20 && t.before.unsampled == 2 << 20);
	t.before.live = 1 << 19;
	before_take(&t, &none);
	assert_true(t.before.bytes == 1 << 19);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conditions_are_read),
		cmocka_unit_test(every_end_has_its_word),
		cmocka_unit_test(growth_is_held_now_less_held_before),
		cmocka_unit_test(growth_needs_what_is_held),
		cmocka_unit_test(counting_tells_what_recording_costs),
		cmocka_unit_test(nothing_and_too_much_are_finite),
		cmocka_unit_test(looks_that_read_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
