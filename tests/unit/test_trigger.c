/* SPDX-License-Identifier: GPL-2.0-or-later */

/* When captures are made by themselves, on a clock that is made here; and what a real
 * process looks like. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "serve/look.h"
#include "serve/oom.h"
#include "serve/trigger.h"
#include "serve/trigger_stacks.h"

static const uint64_t SECOND = 1000000000, TICK = 100000000;
static const int64_t MIB = 1 << 20;

static struct error err;
static char reason[TRIGGER_REASON_BYTES];
static uint64_t random_state;

static double uniform(void)
{
	random_state += 0x9e3779b97f4a7c15ull;
	return (double)(hash_u64(random_state) >> 11) / 9007199254740992.0;
}

static struct trigger_rule rule_of(const char *text)
{
	struct trigger_rule r;

	if (trigger_rule_parse(text, &r, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	return r;
}

/* --- the text of a rule --------------------------------------------------------------- */

static void test_rules(void **state)
{
	struct trigger_rule r = rule_of("growth 256M in 10m");

	assert_int_equal(r.kind, TRIGGER_GROWTH);
	assert_int_equal(r.source, TRIGGER_ANON);
	assert_int_equal(r.bytes, 256 * MIB);
	assert_int_equal(r.window_ns, 600 * SECOND);
	r = rule_of(" growth  1.5GiB of\tallocated in 2h ");
	assert_int_equal(r.bytes, 1536 * MIB);
	assert_int_equal(r.source, TRIGGER_ALLOCATED);
	r = rule_of("above 80% of limit");
	assert_int_equal(r.kind, TRIGGER_ABOVE_PART);
	assert_int_equal(r.source, TRIGGER_CGROUP);
	assert_true(r.part > 0.799 && r.part < 0.801);
	r = rule_of("above 2g");
	assert_int_equal(r.kind, TRIGGER_ABOVE_SIZE);
	assert_int_equal(r.bytes, 2048 * MIB);
	r = rule_of("eta 15m to limit");
	assert_int_equal(r.kind, TRIGGER_ETA);
	assert_int_equal(r.window_ns, 900 * SECOND);
	r = rule_of("held-growth 64M by stack");
	assert_int_equal(r.kind, TRIGGER_HELD);
	assert_int_equal(r.window_ns, 600 * SECOND);
	assert_int_equal(rule_of("held-growth 64M by stack in 30s").window_ns, 30 * SECOND);
	assert_int_equal(rule_of("pressure 10%").kind, TRIGGER_PRESSURE);
	assert_string_equal(trigger_rule_name(&(struct trigger_rule){ .kind = TRIGGER_OOM }),
	                    "oom");
	assert_int_equal(rule_of("oom").kind, TRIGGER_OOM);
	(void)state;
}

static void test_bad_rules(void **state)
{
	static const char *const bad[][2] = {
		{ "", "the rule ends early: expected growth, above, eta, held-growth, pressure or "
		      "oom" },
		{ "grow 256M in 10m", "'grow' in the rule: expected growth, above" },
		{ "growth", "the rule ends early: expected a size like 256M" },
		{ "growth 256X in 10m", "'256X' in the rule: expected a size like 256M" },
		{ "growth -1M in 10m", "'-1M' in the rule: expected a size like 256M" },
		{ "growth 0 in 10m", "'0' in the rule: expected a size like 256M" },
		{ "growth 99999999999999T in 1m", "expected a size like 256M" },
		{ "growth 256M 10m", "'10m' in the rule: expected in" },
		{ "growth 256M in", "the rule ends early: expected a time like 10m" },
		{ "growth 256M in 10", "'10' in the rule: expected a time like 10m" },
		{ "growth 256M in 0.5s",
		  "'0.5s' in the rule: expected a time of a second or more" },
		{ "growth 256M in 31d", "'31d' in the rule: expected a time like 10m" },
		{ "growth 256M of heap in 1m",
		  "'heap' in the rule: expected anon, cgroup or allocated" },
		{ "growth 256M in 10m now", "'now' in the rule: expected nothing more" },
		{ "above 101% of limit", "'101%' in the rule: expected a part like 80%" },
		{ "above 80% limit", "'limit' in the rule: expected of" },
		{ "above nan% of limit", "'nan%' in the rule: expected a part like 80%" },
		{ "eta 15m", "the rule ends early: expected to" },
		{ "held-growth by stack", "'by' in the rule: expected a size like 256M" },
		{ "a b c d e f g h i", "the rule has too many words" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct trigger_rule r = { .bytes = 12345 };

		err = (struct error){ 0 };
		assert_int_equal(trigger_rule_parse(bad[i][0], &r, &err), -EINVAL);
		if (!strstr(err.message, bad[i][1]))
			fail_msg("%s: %s", bad[i][0], err.message);
		assert_int_equal(r.bytes, 12345); /* untouched */
	}
	(void)state;
}

/* --- a simulated process -------------------------------------------------------------- */

struct simulation {
	struct trigger t;
	struct trigger_sample s;
	uint64_t now;
	size_t baselines, captures;
	uint64_t last_fired;
};

static struct simulation begin(const char *rule, uint64_t cooldown_s, unsigned per_day)
{
	struct simulation x = { .now = 1000 * SECOND, .s = trigger_sample_unknown() };
	struct trigger_rule r = rule_of(rule);

	trigger_init(&x.t, &r,
	             &(struct trigger_policy){ .warm_up_ns = 10 * SECOND,
	                                       .cooldown_ns = cooldown_s * SECOND,
	                                       .confirm_ns = SECOND / 2,
	                                       .per_day = per_day });
	return x;
}

static void look(struct simulation *x, uint64_t step, double mib)
{
	enum trigger_verdict v;

	x->now += step;
	for (int i = 0; i < TRIGGER_N_SOURCES; i++)
		x->s.bytes[i] = (int64_t)(mib * (double)MIB);
	v = trigger_look(&x->t, x->now, &x->s, reason);
	x->baselines += v == TRIGGER_BASELINE;
	x->captures += v == TRIGGER_FIRE;
	if (v == TRIGGER_FIRE)
		x->last_fired = x->now;
}

/* @seconds at ten looks a second, from @from MiB to @to, with noise of +-@noise. */
static void live(struct simulation *x, double seconds, double from, double to, double noise)
{
	size_t n = (size_t)(seconds * 10);

	for (size_t i = 0; i < n; i++)
		look(x, TICK,
		     from + (to - from) * (double)(i + 1) / (double)n +
		             noise * (2 * uniform() - 1));
}

/* jemalloc's lg_prof_interval made 13 dumps a second here. */
static void test_churn_at_flat_memory(void **state)
{
	struct simulation x = begin("growth 256M in 10m", 0, 0);

	live(&x, 86400, 500, 500, 100);
	assert_int_equal(x.captures, 0);
	assert_int_equal(x.baselines, 1);
	/* a collector's saw tooth, larger than the step: once, not each minute */
	for (int i = 0; i < 600; i++) {
		live(&x, 50, 500, 800, 5);
		live(&x, 10, 500, 500, 5);
	}
	assert_int_equal(x.captures, 1);
	(void)state;
}

static void test_one_for_each_step(void **state)
{
	for (int tens = 1; tens <= 40; tens++) { /* 1 GiB and a half in 10 to 400 s */
		struct simulation x = begin("growth 256M in 10m", 0, 0);

		live(&x, 60, 100, 100, 2);
		live(&x, tens * 10, 100, 100 + 1536 + 3, 2);
		live(&x, 3600, 1639, 1639, 2);
		assert_int_equal(x.captures, 6);
	}
	(void)state;
}

static void test_growth_and_window(void **state)
{
	struct simulation x = begin("growth 256M in 10m", 0, 0);

	live(&x, 60, 100, 100, 0);
	live(&x, 7200, 100, 100 + 1500, 1); /* 125 MiB in 10 minutes */
	assert_int_equal(x.captures, 0);
	live(&x, 60, 1600, 1600 + 250, 1); /* 250 and the 115 of the 9 minutes before */
	assert_int_equal(x.captures, 1);
	assert_non_null(strstr(reason, "MiB"));
	/* all is given back, and some time later it grows again */
	live(&x, 1200, 100, 100, 1);
	live(&x, 300, 100, 360, 0);
	live(&x, 60, 360, 360, 0);
	assert_int_equal(x.captures, 2);
	/* at once: one capture is all that can be made of it, and it counts for all */
	live(&x, 1, 360, 360, 0);
	live(&x, 3600, 2000, 2000, 1);
	assert_int_equal(x.captures, 3);
	(void)state;
}

static void test_spike_and_warm_up(void **state)
{
	struct simulation x = begin("growth 256M in 10m", 0, 0);

	live(&x, 5, 100, 1000, 0); /* it starts */
	live(&x, 60, 1000, 1000, 0);
	assert_int_equal(x.captures, 0);
	for (int i = 0; i < 100; i++) {
		live(&x, 0.3, 1500, 1500, 0); /* shorter than what confirms it */
		live(&x, 1, 1000, 1000, 0);
	}
	assert_int_equal(x.captures, 0);
	x.s = trigger_sample_unknown();
	for (int i = 0; i < 100; i++)
		assert_int_equal(trigger_look(&x.t, x.now += TICK, &x.s, reason), TRIGGER_NOTHING);
	(void)state;
}

static void test_cooldown_and_cap(void **state)
{
	struct simulation x = begin("growth 10M in 10m", 60, 5);

	live(&x, 20, 100, 100, 0);
	live(&x, 120, 100, 100 + 240, 0); /* 24 steps in 2 minutes */
	live(&x, 120, 340, 340, 0);
	assert_int_equal(x.captures, 3); /* at once, a minute later, and what was left */
	assert_true(x.t.held_off >= 2);
	live(&x, 600, 340, 1340, 0);
	assert_int_equal(x.captures, 5);
	live(&x, 86000, 1340, 1340, 0);
	assert_int_equal(x.captures, 5);
	live(&x, 600, 1340, 1400, 0); /* the next day */
	assert_true(x.captures > 5);
	(void)state;
}

static void test_above(void **state)
{
	struct simulation x = begin("above 80% of limit", 0, 0);

	live(&x, 100, 900, 900, 0);
	assert_int_equal(x.captures, 0); /* no limit is known */
	x.s.limit_bytes = 1000 * MIB;
	live(&x, 60, 500, 790, 5);
	assert_int_equal(x.captures, 0);
	assert_int_equal(x.baselines, 1);
	live(&x, 3600, 800, 800, 20); /* around it: once */
	assert_true(x.captures <= 1);
	live(&x, 3600, 850, 850, 5);
	assert_int_equal(x.captures, 1);
	live(&x, 60, 770, 770, 5); /* not clearly left */
	live(&x, 60, 850, 850, 5);
	assert_int_equal(x.captures, 1);
	live(&x, 60, 700, 700, 5);
	live(&x, 60, 850, 850, 5);
	assert_int_equal(x.captures, 2);
	assert_non_null(strstr(reason, "of its limit of 1000.0 MiB"));
	x = begin("above 1G of anon", 0, 0);
	live(&x, 60, 1000, 1000, 0);
	live(&x, 60, 1030, 1030, 0);
	assert_int_equal(x.captures, 1);
	(void)state;
}

/* --- time to the limit ------------------------------------------------------------------ */

static void test_eta(void **state)
{
	/* 100 MiB, limit 1000, 0.25 MiB/s: there after 3600 s; 15 m before that at 2700 */
	for (int noise = 0; noise <= 30; noise += 10) {
		struct simulation x = begin("eta 15m to limit", 3600, 0);
		double left;
		uint64_t start;

		x.s.limit_bytes = 1000 * MIB;
		start = x.now;
		live(&x, 3600, 100, 1000, noise);
		assert_int_equal(x.captures, 1);
		left = 3600 - (double)(x.last_fired - start) / 1e9;
		if (left < 700 || left > 920)
			fail_msg("noise %d: fired %.0f s before the limit", noise, left);
	}
	(void)state;
}

static void test_no_false_eta(void **state)
{
	struct simulation x = begin("eta 15m to limit", 60, 0);
	double red = 0;

	x.s.limit_bytes = 1000 * MIB;
	/* noise that depends on itself, close to the limit, for a month at a look a second */
	for (int i = 0; i < 30 * 86400; i++) {
		red = 0.99 * red + 2 * (2 * uniform() - 1);
		look(&x, SECOND, 950 + red);
	}
	assert_true(x.captures <= 2); /* 1; by the interval alone it were 103 */
	/* a step is no growth that goes on, nor are two points a slope */
	x = begin("eta 15m to limit", 60, 0);
	x.s.limit_bytes = 1000 * MIB;
	live(&x, 1000, 500, 500, 1);
	live(&x, 1000, 900, 900, 1);
	live(&x, 1000, 700, 700, 1);
	assert_int_equal(x.captures, 0);
	(void)state;
}

static void test_slope(void **state)
{
	struct trigger_slope s;
	struct trigger_slope_line line;
	int inside = 0;

	for (int run = 0; run < 400; run++) {
		trigger_slope_init(&s, 80 * SECOND);
		for (uint64_t i = 0; i < 950; i++)
			trigger_slope_add(&s, SECOND * 100 + i * TICK,
			                  1e6 + 1000 * (double)i / 10 + 20000 * (uniform() - 0.5));
		assert_true(trigger_slope_line(&s, &line));
		inside += line.low <= 1000 && 1000 <= line.high;
	}
	if (inside < 365 || inside > 395)
		fail_msg("%d of 400 intervals of 95 %% hold the truth", inside);
	trigger_slope_init(&s, 80 * SECOND);
	assert_false(trigger_slope_line(&s, &line));
	trigger_slope_add(&s, SECOND, 1);
	trigger_slope_add(&s, 90 * SECOND, 1e9);
	assert_false(trigger_slope_line(&s, &line)); /* two points */
	(void)state;
}

/* What is allocated, by looks every 15 s, which are all that its reader gives: it swings, and
 * grows by 800 MiB; what is resident would say otherwise. */
static void test_allocated(void **state)
{
	struct simulation x = begin("growth 256M of allocated in 10m", 60, 0);
	int captures = 0;

	for (int i = 0; i < 520; i++) {
		int64_t more = i < 480 ? i % 50 : (i - 479) * 20;

		x.now += 15 * SECOND;
		x.s.bytes[TRIGGER_ALLOCATED] = (500 + more) * MIB;
		x.s.bytes[TRIGGER_ANON] = (i < 480 && i % 2 ? 4000 : 100) * MIB;
		captures += trigger_look(&x.t, x.now, &x.s, reason) == TRIGGER_FIRE;
		if (i < 480)
			assert_int_equal(captures, 0);
	}
	assert_int_equal(captures, 3);
	(void)state;
}

static void test_oom_format(void **state)
{
	uint64_t id = 0;
	uint32_t offset = 0;

	assert_true(oom_parse_format("name: mark_victim\nID: 609\nformat:\n"
	                             "\tfield:int common_pid;\toffset:4;\tsize:4;\n\n"
	                             "\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;\n",
	                             &id, &offset));
	assert_int_equal(id, 609);
	assert_int_equal(offset, 8);
	assert_false(oom_parse_format("", &id, &offset));
	assert_false(oom_parse_format("\nID: 1\nfield:int pid;\n offset:8", &id, &offset));
	assert_false(oom_parse_format("\nID: 1\nfield:int pid; offset:99999;", &id, &offset));
	assert_false(oom_parse_format("\nID: x\nfield:int pid; offset:8;", &id, &offset));
	(void)state;
}

/* --- one stack -------------------------------------------------------------------------- */

struct stack_simulation {
	struct simulation x;
	struct trigger_stacks stacks;
	struct trigger_stack held[100];
	size_t captures, last;
};

static void stacks_live(struct stack_simulation *y, int seconds)
{
	for (int i = 0; i < seconds; i++) {
		int r;

		look(&y->x, SECOND, 1000);
		r = trigger_stacks_look(&y->stacks, y->x.now, y->held, 100, &y->last, reason, &err);
		assert_true(r >= 0);
		y->captures += (size_t)r;
	}
}

static void test_held_growth(void **state)
{
	struct stack_simulation y = { .x = begin("held-growth 64M by stack in 10m", 0, 0) };

	y.stacks.trigger = &y.x.t;
	for (size_t i = 0; i < 100; i++)
		y.held[i] = (struct trigger_stack){ hash_u64(i), (int64_t)(i % 7) * 10 * MIB };
	stacks_live(&y, 700);
	assert_int_equal(y.captures, 0);
	assert_int_equal(y.x.baselines, 1);
	/* one grows as others shrink: the process as a whole does not grow */
	for (int i = 0; i < 70; i++) {
		y.held[42].held_bytes += MIB;
		y.held[(i % 40) + 50].held_bytes -= MIB;
		stacks_live(&y, 2);
	}
	stacks_live(&y, 60);
	assert_int_equal(y.captures, 1);
	assert_int_equal(y.last, 42);
	/* slowly: never */
	for (int i = 0; i < 400; i++) {
		y.held[3].held_bytes += MIB / 2;
		stacks_live(&y, 6);
	}
	assert_int_equal(y.captures, 1);
	/* at once, where nothing was */
	y.held[77] = (struct trigger_stack){ 0xabcdef, 90 * MIB };
	stacks_live(&y, 3000);
	assert_int_equal(y.captures, 2);
	assert_int_equal(y.last, 77);
	assert_int_equal(y.stacks.overflow, 0);
	trigger_stacks_clear(&y.stacks);
	(void)state;
}

/* --- a real process --------------------------------------------------------------------- */

static void test_texts(void **state)
{
	uint64_t inactive;
	int64_t limit = 77;

	look_parse_stat("cache 1\ninactive_file 5\nhierarchical_memory_limit 104857600\n"
	                "total_inactive_file 9\n",
	                false, &inactive, &limit);
	assert_int_equal(inactive, 9);
	assert_int_equal(limit, 104857600);
	look_parse_stat("hierarchical_memory_limit 9223372036854771712\n", false, &inactive,
	                &limit);
	assert_int_equal(limit, -1);
	assert_int_equal(inactive, 0);
	look_parse_stat("anon 4\ninactive_file 12\n", true, &inactive, &limit);
	assert_int_equal(inactive, 12);
	assert_int_equal(look_parse_number("low 0\noom 1\noom_kill 3\n", "oom_kill"), 3);
	assert_int_equal(look_parse_number("oom_kill_disable 0\nunder_oom 0", "oom_kill"), -1);
	assert_true(look_parse_pressure("some avg10=12.50 avg60=0\nfull avg10=1\n") > 0.1249);
	assert_true(look_parse_pressure("some avg10=x") < 0);
	assert_true(look_parse_pressure("") < 0);
	(void)state;
}

static pid_t start_grower(void)
{
	enum { STEP = 1 << 20, STEPS = 98 };
	pid_t pid = fork();

	if (pid)
		return pid;
	nanosleep(&(struct timespec){ .tv_nsec = 600000000 }, NULL);
	for (int i = 0; i < STEPS; i++) {
		char *p = mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		               0);

		memset(p, 1, STEP);
		/* some churn beside it: 500 MiB that do not stay */
		for (int k = 0; k < 5; k++) {
			char *q = mmap(NULL, STEP, PROT_READ | PROT_WRITE,
			               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			memset(q, 1, STEP);
			munmap(q, STEP);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 15000000 }, NULL);
	}
	nanosleep(&(struct timespec){ .tv_nsec = 700000000 }, NULL);
	_exit(0);
}

/* Of 60 looks at a process that takes or gives back 3 MiB between two of them, the ones that read.
 */
static unsigned looks_that_read(const char *rule)
{
	const struct trigger_rule r = rule_of(rule);
	const size_t bytes = 3 * (1 << 20);
	cleanup(look_closep) struct look *l = NULL;
	struct trigger_sample s;
	unsigned n = 0;

	assert_int_equal(look_open(getpid(), &l, &err), 0);
	look_need(l, &r);
	for (unsigned i = 0; i < 30; i++) {
		char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		               0);

		assert_true(p != MAP_FAILED);
		memset(p, 1, bytes);
		n += look_sample(l, SECOND, &s) > 0; /* the cgroup at the first one alone */
		munmap(p, bytes);
		n += look_sample(l, SECOND, &s) > 0;
	}
	return n;
}

static void test_looks_as_rules_need(void **state)
{
	assert_int_equal(looks_that_read("growth 64M in 10m"), 60);
	assert_in_range(looks_that_read("growth 1G in 10m"), 20, 50);
	assert_in_range(looks_that_read("oom"), 20, 50);
	(void)state;
}

static void test_real_grower(void **state)
{
	cleanup(look_closep) struct look *l = NULL;
	struct trigger_rule r = rule_of("growth 32M in 1m");
	struct trigger t;
	struct trigger_sample s;
	size_t captures = 0;
	pid_t pid = start_grower();

	trigger_init(&t, &r, &(struct trigger_policy){ .warm_up_ns = SECOND / 5 });
	assert_int_equal(look_open(pid, &l, &err), 0);
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (look_sample(l, clock_now_ns(), &s) > 0)
			captures += trigger_look(&t, clock_now_ns(), &s, reason) == TRIGGER_FIRE;
		nanosleep(&(struct timespec){ .tv_nsec = (long)TICK / 2 }, NULL);
	}
	assert_int_equal(captures, 3); /* 98 MiB */
	assert_int_equal(look_sample(l, clock_now_ns() + 100 * SECOND, &s), -ESRCH);
	look_closep(&l);
	assert_int_equal(look_open(pid, &l, &err), -ESRCH);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_bad_rules),
		cmocka_unit_test(test_churn_at_flat_memory),
		cmocka_unit_test(test_one_for_each_step),
		cmocka_unit_test(test_growth_and_window),
		cmocka_unit_test(test_spike_and_warm_up),
		cmocka_unit_test(test_cooldown_and_cap),
		cmocka_unit_test(test_above),
		cmocka_unit_test(test_eta),
		cmocka_unit_test(test_no_false_eta),
		cmocka_unit_test(test_slope),
		cmocka_unit_test(test_allocated),
		cmocka_unit_test(test_oom_format),
		cmocka_unit_test(test_held_growth),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_looks_as_rules_need),
		cmocka_unit_test(test_real_grower),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
