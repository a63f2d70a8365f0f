/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/nearest.h"
#include "cli/args.h"

static const struct cli_option *const tables[] = { options_recording, options_output, options_held,
	                                           options_common, NULL };
static const struct cli_command command = {
	.name = "try",
	.usage = "[OPTION...] TARGET",
	.option_tables = tables,
};
const struct cli_command *const main_commands[] = { &command };
const size_t main_n_commands = ARRAY_SIZE(main_commands);

/* Split @line at blanks and parse it; the words stay valid to the end. */
static int parse(struct cli_args *args, struct error *err, const char *line)
{
	static char text[4096];
	static size_t used;
	char *words[32], *save = NULL;
	static char *kept[256];
	static size_t n_kept;
	char **argv = kept + n_kept;
	int argc = 0;

	snprintf(text + used, sizeof(text) - used, "%s", line);
	words[0] = strtok_r(text + used, " ", &save);
	used += strlen(line) + 1;
	while (words[argc])
		words[++argc] = strtok_r(NULL, " ", &save);
	memcpy(argv, words, sizeof(*words) * ((size_t)argc + 1));
	n_kept += (size_t)argc + 1;
	return args_parse(&command, argc, argv, args, err);
}

static void options_stand_anywhere_before_the_dashes(void **state)
{
	cleanup(args_clear) struct cli_args args = { 0 };
	struct error err = { 0 };

	assert_int_equal(parse(&args, &err, "4711 -qd5s --output=a=b.svg x -o - -- cmd -d 7"), 0);
	assert_int_equal(args.n_words, 2);
	assert_string_equal(args.words[0], "4711");
	assert_string_equal(args.words[1], "x");
	assert_true(cli_flag(&args, "quiet"));
	assert_string_equal(cli_value(&args, "duration"), "5s");
	/* the last one counts */
	assert_string_equal(cli_value(&args, "output"), "-");
	assert_string_equal(args.values[2], "a=b.svg");
	assert_null(cli_value(&args, "format"));
	assert_string_equal(args.rest[0], "cmd");
	assert_string_equal(args.rest[2], "7");
	assert_null(args.rest[3]);
}

static void mistakes_are_named(void **state)
{
	struct cli_args args = { 0 };
	struct error err = { 0 };

	assert_int_equal(parse(&args, &err, "--duratoin 5s"), -EINVAL);
	assert_string_equal(err.message, "try has no option --duratoin");
	assert_non_null(strstr(err.hint, "did you mean --duration?"));
	assert_int_equal(parse(&args, &err, "--zzzzzzzzz=1"), -EINVAL);
	assert_null(strstr(err.hint, "did you mean"));
	assert_int_equal(parse(&args, &err, "-qZ"), -EINVAL);
	assert_string_equal(err.message, "try has no option -Z");
	assert_int_equal(parse(&args, &err, "x --duration"), -EINVAL);
	assert_string_equal(err.message, "--duration needs a value (TIME)");
	assert_int_equal(parse(&args, &err, "--json=yes"), -EINVAL);
	assert_string_equal(err.message, "--json takes no value");
	assert_null(args.options);
}

static int duration_of(const char *text, double *ret)
{
	cleanup(args_clear) struct cli_args args = { 0 };
	char dash_d[] = "-d", copy[32];
	struct error err = { 0 };

	snprintf(copy, sizeof(copy), "%s", text);
	assert_int_equal(args_parse(&command, 2, (char *[]){ dash_d, copy, NULL }, &args, &err), 0);
	return cli_duration(&args, "duration", ret, &err);
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		double seconds;
	} good[] = { { "13s", 13 }, { "500ms", .5 },  { "2m", 120 },
		     { "13", 13 },  { "1.5h", 5400 }, { "20us", 20e-6 } };
	static const char *const bad[] = { "0",   "-1",  "",   "x",   "1x",   "1e3",  "0x10",
		                           "inf", "nan", " 1", "1 s", "400d", "1..2", "1s2" };
	double v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(duration_of(good[i].text, &v), 0);
		assert_float_equal(v, good[i].seconds, 1e-9);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		v = 42;
		assert_int_equal(duration_of(bad[i], &v), -EINVAL);
		assert_float_equal(v, 42, 0);
	}
}

static void sizes_and_factors(void **state)
{
	cleanup(args_clear) struct cli_args args = { 0 };
	struct error err = { 0 };
	unsigned long long bytes = 7;
	double factor = 7;

	assert_int_equal(parse(&args, &err, "--min-size 512K --max-size 17E --max-slowdown 100x"),
	                 0);
	assert_int_equal(cli_size(&args, "min-size", &bytes, &err), 0);
	assert_int_equal(bytes, 512 << 10);
	assert_int_equal(cli_size(&args, "max-size", &bytes, &err), -EINVAL);
	assert_int_equal(bytes, 512 << 10);
	assert_int_equal(cli_factor(&args, "max-slowdown", &factor, &err), 0);
	assert_float_equal(factor, 100, 0);
	/* not given: the caller's value stays */
	assert_int_equal(cli_duration(&args, "duration", &factor, &err), 0);
	assert_float_equal(factor, 100, 0);
}

static void one_word_is_asked_for(void **state)
{
	cleanup(args_clear) struct cli_args none = { 0 }, two = { 0 };
	struct error err = { 0 };
	const char *word = NULL;

	assert_int_equal(parse(&none, &err, "-q"), 0);
	assert_int_equal(cli_word(&none, "TARGET", &word, &err), -EINVAL);
	assert_string_equal(err.message, "try needs a TARGET");
	assert_int_equal(parse(&two, &err, "a b"), 0);
	assert_int_equal(cli_word(&two, "TARGET", &word, &err), -EINVAL);
	assert_string_equal(err.hint, "usage: memwho try [OPTION...] TARGET");
	assert_null(word);
}

static const char *meant(const char *typed)
{
	struct nearest n = nearest_to(typed);

	nearest_offer(&n, "output");
	nearest_offer(&n, "duration");
	nearest_offer(&n, "older-than");
	return n.name;
}

static void the_nearest_name_is_near(void **state)
{
	assert_string_equal(meant("duratoin"), "duration");
	assert_string_equal(meant("dur"), "duration");
	assert_string_equal(meant("ouput"), "output");
	assert_string_equal(meant("olderthan"), "older-than");
	assert_null(meant("verbose"));
	assert_null(meant(""));
	assert_null(meant("a-name-that-is-longer-than-every-option-of-ours"));
}

static void commands_are_found_by_their_whole_name(void **state)
{
	assert_ptr_equal(cli_find("try"), &command);
	assert_null(cli_find("tr"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_anywhere_before_the_dashes),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(durations),
		cmocka_unit_test(sizes_and_factors),
		cmocka_unit_test(one_word_is_asked_for),
		cmocka_unit_test(the_nearest_name_is_near),
		cmocka_unit_test(commands_are_found_by_their_whole_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
