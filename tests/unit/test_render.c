/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of formats, the words, and the file that is there whole or not at
 * all. What the formats contain: tests/e2e/test_formats.py, test_pictures.py. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <jansson.h>

#include "../programs/render_samples.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "render/colour.h"
#include "render/escape.h"
#include "render/interval_text.h"
#include "render/render.h"
#include "render/tree.h"
#include "render/units.h"
#include "render/view.h"

static const struct render_options plain_options = { .type = -1, .min_width = -1 };

static char *render_text(const struct profile *p, const char *format,
                         const struct render_options *o, size_t *size)
{
	struct error err = { 0 };
	char *text = NULL;
	FILE *to = open_memstream(&text, size);

	if (render_find(format)->write(p, o, to, &err) < 0)
		fail_msg("%s: %s", format, err.message);
	fclose(to);
	return text;
}

/* ---- names and endings */

static void formats_are_found(void **state)
{
	static const char *const pairs[][2] = {
		{ "a.svg", "svg" },       { "a.html", "html" },
		{ "a.folded", "folded" }, { "dir.svg/a.stap", "stap" },
		{ "a.pb.gz", "pprof" },   { "a.json", "json" },
		{ "a.heap", "heap" },     { "a.speedscope.json", "speedscope" },
		{ "a.txt", "table" },     { ".svg", "svg" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		const struct render_format *f = render_find_file(pairs[i][0]);

		assert_non_null(f);
		assert_string_equal(f->name, pairs[i][1]);
		assert_ptr_equal(f, render_find(f->name));
	}
	assert_null(render_find_file("a.gz"));
	assert_null(render_find_file("svg"));
	assert_null(render_find_file(""));
	assert_null(render_find("bmp"));
	assert_string_equal(render_find("txt")->name, "table");
}

/* ---- words */

static void numbers_read_well(void **state)
{
	char b[UNITS_BYTES];

	assert_string_equal(units_bytes(0, b, sizeof(b)), "0 B");
	assert_string_equal(units_bytes(1023, b, sizeof(b)), "1023 B");
	assert_string_equal(units_bytes(1024, b, sizeof(b)), "1.0 KiB");
	assert_string_equal(units_bytes(1024 * 1024 - 1, b, sizeof(b)), "1.0 MiB");
	assert_string_equal(units_bytes(5378688, b, sizeof(b)), "5.1 MiB");
	assert_string_equal(units_bytes(-1536, b, sizeof(b)), "-1.5 KiB");
	assert_string_equal(units_bytes(INT64_MAX, b, sizeof(b)), "8.0 EiB");
	assert_string_equal(units_bytes(INT64_MIN, b, sizeof(b)), "-8.0 EiB");
	assert_string_equal(units_count(0, b, sizeof(b)), "0");
	assert_string_equal(units_count(999, b, sizeof(b)), "999");
	assert_string_equal(units_count(-1234567, b, sizeof(b)), "-1,234,567");
	assert_string_equal(units_count(INT64_MIN, b, sizeof(b)), "-9,223,372,036,854,775,808");
	assert_string_equal(units_seconds(0.0123, b, sizeof(b)), "12.3 ms");
	assert_string_equal(units_seconds(250, b, sizeof(b)), "4 min 10 s");
	assert_string_equal(units_seconds(-1, b, sizeof(b)), "?");
	assert_string_equal(units_percent(999999, 1000000, b, sizeof(b)), "99.9 %");
	assert_string_equal(units_percent(1, 1, b, sizeof(b)), "100.0 %");
	assert_string_equal(units_percent(1, 10000, b, sizeof(b)), "0.01 %");
	assert_string_equal(units_percent(1, 0, b, sizeof(b)), "0.0 %");
	assert_string_equal(units_value(2048, true, true, b, sizeof(b)), "+2.0 KiB");
}

static char *escaped(const char *s, size_t max)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	escape_xml(to, s, max);
	fclose(to);
	return text;
}

static void foreign_text_is_made_safe(void **state)
{
	static const char *const pairs[][2] = {
		{ "a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;" },
		{ "a\nb\tc", "a b c" },
		{ "\x01\x1b[0m\x7f", "\xef\xbf\xbd\xef\xbf\xbd[0m\xef\xbf\xbd" },
		{ "\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc2\x9b", "\xef\xbf\xbd" },         /* CSI as one C1 character */
		{ "\xe2\x80\xae", "\xef\xbf\xbd" },     /* right-to-left override */
		{ "\xef\xbf\xbe", "\xef\xbf\xbd" },     /* not a character */
		{ "\xf0\x9f\xbf\xbf", "\xef\xbf\xbd" }, /* nor this one, U+1FFFF */
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		cleanup_free char *text = escaped(pairs[i][0], 0);

		assert_string_equal(text, pairs[i][1]);
	}
}

static void cut_text_keeps_whole_characters(void **state)
{
	cleanup_free char *whole = escaped("\xc3\xbc\xc3\xbc\xc3\xbc", 3);
	cleanup_free char *cut = escaped("\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc", 3);
	cleanup_free char *entity = escaped("<<<<", 2);

	assert_string_equal(whole, "\xc3\xbc\xc3\xbc\xc3\xbc");
	assert_string_equal(cut, "\xc3\xbc\xc3\xbc\xe2\x80\xa6");
	assert_string_equal(entity, "&lt;\xe2\x80\xa6");
	assert_int_equal(escape_width("\xc3\xbc\xff.."), 4);
}

/* ---- colours */

static void colours_depend_on_module_and_name(void **state)
{
	unsigned a = colour_class("libc.so.6", "malloc", true);
	char light[8], dark[8], hex[8];

	assert_int_equal(a, colour_class("libc.so.6", "malloc", true));
	/* another version of the same library, another shade for another name */
	assert_int_equal(a, colour_class("libc-2.31.so", "malloc", true));
	assert_int_equal(a / COLOUR_SHADES,
	                 colour_class("libc.so.6", "free", true) / COLOUR_SHADES);
	assert_int_not_equal(a / COLOUR_SHADES,
	                     colour_class("postgres", "malloc", true) / COLOUR_SHADES);
	assert_int_not_equal(a, colour_class("libc.so.6", "malloc", false));
	assert_int_equal(colour_class("", "x", true) / COLOUR_SHADES, 0);
	assert_string_not_equal(colour_hex(a, false, light), colour_hex(a, true, dark));
	for (unsigned i = 0; i < COLOUR_CLASSES; i++) {
		assert_int_equal(strlen(colour_hex(i, false, hex)), 7);
		assert_int_equal(strspn(hex + 1, "0123456789abcdef"), 6);
	}
}

static void diff_colours_grow_with_the_change(void **state)
{
	unsigned zero = COLOUR_DIFF + COLOUR_DIFF_STEPS;

	assert_int_equal(colour_diff_class(0, 100), zero);
	assert_int_equal(colour_diff_class(0, 0), zero);
	assert_int_equal(colour_diff_class(100, 100), COLOUR_CLASSES - 1);
	assert_int_equal(colour_diff_class(-100, 100), COLOUR_DIFF);
	assert_int_equal(colour_diff_class(-1000, 100), COLOUR_DIFF);
	assert_true(colour_diff_class(1, 1000000) > zero);
	assert_true(colour_diff_class(-1, 1000000) < zero);
	assert_true(colour_diff_class(50, 100) > colour_diff_class(10, 100));
}

/* ---- tree */

static void children_lie_inside_their_parents(void **state)
{
	static const char *const cases[] = { "small", "large", "diff", "deep", "hostile" };

	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		cleanup(profile_freep) struct profile *p = render_samples_make(cases[c]);
		cleanup(view_clear) struct view v = { 0 };
		cleanup(tree_clear) struct tree t = { 0 };
		struct error err;

		assert_int_equal(view_make(p, &plain_options, 0, &v, &err), 0);
		assert_int_equal(tree_make(&v, false, &t, &err), 0);
		assert_int_equal(tree_layout(&t, &err), 0);
		for (size_t i = 1; i < t.n_nodes; i++) {
			const struct tree_node *n = &t.nodes[i], *up = &t.nodes[n->parent];

			assert_true(n->parent < i && n->depth == up->depth + 1);
			assert_true(n->left >= up->left &&
			            n->left + n->value <= up->left + up->value);
		}
		if (!t.is_diff)
			assert_int_equal(t.nodes[0].value, profile_total(p, v.type));
	}
}

static void diff_is_as_wide_as_the_larger_side(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("diff");
	cleanup(view_clear) struct view v = { 0 };
	cleanup(tree_clear) struct tree t = { 0 };
	struct error err;

	assert_int_equal(view_make(p, &plain_options, 0, &v, &err), 0);
	assert_int_equal(tree_make(&v, false, &t, &err), 0);
	assert_true(t.is_diff);
	assert_int_equal(t.nodes[0].value, 9000000 + 3000000 + 2000000 + 700000);
	assert_int_equal(t.nodes[0].before, 6500000);
	assert_int_equal(t.nodes[0].after, 11700000);
}

/* Their sums are added up to the root, not their ends. */
static void intervals_of_parents(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("sampled");
	cleanup(view_clear) struct view v = { 0 };
	cleanup(tree_clear) struct tree t = { 0 };
	double low, high, parent_high = 0;
	struct interval_sum total;
	struct error err;

	assert_int_equal(view_make(p, &plain_options, 0, &v, &err), 0);
	assert_int_equal(tree_make(&v, false, &t, &err), 0);
	total = interval_text_total(&v);
	assert_true(total.samples == 107 && t.nodes[0].sum.samples == 107);
	assert_true(total.variance == t.nodes[0].sum.variance);
	for (size_t i = 1; i < t.n_nodes; i++) {
		if (strcmp(tree_text(&t, &t.funcs[t.nodes[i].func]), "parent"))
			continue;
		assert_true(t.nodes[i].sum.samples == 5);
		interval_of(&t.nodes[i].sum, &low, &parent_high);
		/* of five samples: gamma(5.5), not the sum of gamma(1.5) and gamma(4.5) */
		assert_true(low > 1.8 * 524288 && low < 2 * 524288);
		assert_true(parent_high > 10.8 * 524288 && parent_high < 11.1 * 524288);
	}
	assert_true(parent_high > 0);
	/* what is certain stays certain: two blocks of 10 MiB */
	interval_of(&total, &low, &high);
	assert_true(low > 40 * 524288 + 80 * 524288 && high < 40 * 524288 + 130 * 524288.);
}

/* ---- JSON */

static json_t *as_json(const char *name, const char *format)
{
	cleanup(profile_freep) struct profile *p = render_samples_make(name);
	cleanup_free char *text = NULL;
	json_error_t jerr;
	size_t size;
	json_t *j;

	text = render_text(p, format, &plain_options, &size);
	j = json_loadb(text, size, JSON_REJECT_DUPLICATES, &jerr);
	if (!j)
		fail_msg("%s %s: %s at %d", name, format, jerr.text, jerr.position);
	return j;
}

static void json_has_the_promised_keys(void **state)
{
	static const char *const keys[] = {
		"target",   "duration_seconds",   "held_bytes",
		"stacks",   "lost_events",        "engine",
		"ended_by", "estimated_slowdown", "complete_stacks_percent"
	};
	static const char *const cases[] = { "small", "plain", "empty", "diff", "hostile" };

	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		json_t *j = as_json(cases[c], "json");

		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			assert_non_null(json_object_get(j, keys[i]));
		assert_true(json_is_array(json_object_get(j, "stacks")));
		json_decref(j);
	}
}

static void json_says_what_the_profile_says(void **state)
{
	json_t *j = as_json("small", "json"), *stacks = json_object_get(j, "stacks"), *s;
	json_int_t sum = 0, last = INT64_MAX;
	size_t i;

	assert_string_equal(json_string_value(json_object_get(j, "target")), "postgres (4711)");
	assert_int_equal(json_integer_value(json_object_get(j, "lost_events")), 0);
	assert_true(json_number_value(json_object_get(j, "duration_seconds")) == 13);
	json_array_foreach(stacks, i, s)
	{
		json_int_t bytes = json_integer_value(json_object_get(s, "bytes"));

		assert_true(bytes <= last);
		last = bytes;
		sum += bytes;
	}
	assert_int_equal(i, 7);
	assert_int_equal(sum, json_integer_value(json_object_get(j, "held_bytes")));
	s = json_array_get(stacks, 0);
	assert_int_equal(json_integer_value(json_object_get(s, "bytes")), 5378688);
	assert_int_equal(json_integer_value(json_object_get(s, "count")), 37352);
	assert_int_equal(json_integer_value(json_object_get(s, "alloc_bytes")), 2 * 5378688);
	assert_true(json_number_value(json_object_get(s, "average_age_seconds")) == 6.4);
	assert_string_equal(json_string_value(json_array_get(json_object_get(s, "frames"), 0)),
	                    "AllocSetAlloc");
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(s, "labels"), "context")),
		"TopMemoryContext");
	json_decref(j);
}

static json_int_t integer_of(const json_t *j, const char *key)
{
	const json_t *v = json_object_get(j, key);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

static void json_has_intervals(void **state)
{
	json_t *j = as_json("sampled", "json"), *stacks = json_object_get(j, "stacks"), *s;
	size_t i;

	assert_true(integer_of(j, "shown_bytes_low") < integer_of(j, "shown_bytes"));
	assert_true(integer_of(j, "shown_bytes_high") > integer_of(j, "shown_bytes"));
	json_array_foreach(stacks, i, s)
	{
		assert_true(integer_of(s, "bytes_low") <= integer_of(s, "bytes"));
		assert_true(integer_of(s, "bytes_high") >= integer_of(s, "bytes"));
		assert_true(integer_of(s, "count_high") >= integer_of(s, "count"));
		assert_true(integer_of(s, "alloc_bytes_high") == integer_of(s, "bytes_high"));
	}
	assert_int_equal(integer_of(json_array_get(stacks, 0), "samples"), 100);
	assert_int_equal(integer_of(json_array_get(stacks, 1), "bytes_low"), 40 * 524288);
	assert_int_equal(integer_of(json_array_get(stacks, 3), "samples"), 1);
	json_decref(j);
	j = as_json("small", "json");
	assert_null(json_object_get(j, "shown_bytes_low"));
	assert_null(json_object_get(json_array_get(json_object_get(j, "stacks"), 0), "bytes_low"));
	json_decref(j);
}

static void texts_have_intervals(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("sampled");
	cleanup_free char *table = NULL, *svg = NULL, *only = NULL;
	struct render_options o = plain_options;
	size_t size;

	table = render_text(p, "table", &o, &size);
	assert_non_null(strstr(table, "seen by one sample"));
	assert_non_null(strstr(table, ", 100 samples"));
	svg = render_text(p, "svg", &o, &size);
	assert_non_null(strstr(svg, ", 107 samples</title>"));
	assert_non_null(strstr(svg, ", 5 samples</title>"));
	assert_non_null(strstr(svg, "seen by one sample</title>"));
	o.focus = "^(once|few)$";
	only = render_text(p, "svg", &o, &size);
	assert_null(strstr(only, ", 107 samples"));
	assert_non_null(strstr(only, ", 5 samples</title>"));
}

static void json_has_lines_where_they_are_known(void **state)
{
	json_t *j = as_json("plain", "json"), *stacks = json_object_get(j, "stacks"), *at;

	at = json_object_get(json_array_get(stacks, 0), "locations");
	assert_int_equal(json_array_size(at), 3);
	assert_true(json_is_null(json_array_get(at, 1)));
	at = json_array_get(at, 0);
	assert_string_equal(json_string_value(json_object_get(at, "file")), "src/leaf.c");
	assert_int_equal(json_integer_value(json_object_get(at, "line")), 42);
	assert_null(json_object_get(json_array_get(stacks, 1), "locations"));
	assert_true(json_is_null(json_object_get(json_array_get(stacks, 1), "count")));
	assert_true(json_is_null(json_object_get(j, "lost_events")));
	json_decref(j);
}

static void json_of_hostile_names_gives_them_back(void **state)
{
	json_t *j = as_json("hostile", "json"), *stacks = json_object_get(j, "stacks");
	size_t n = 0;

	assert_true(json_is_array(stacks)); /* and not the report's figure of that name */
	while (render_samples_hostile[n])
		n++;
	assert_int_equal(json_array_size(stacks), n);
	for (size_t i = 0; i < n; i++) {
		/* sorted by bytes: the last one added is the first */
		json_t *frames = json_object_get(json_array_get(stacks, n - 1 - i), "frames");
		const char *name = json_string_value(json_array_get(frames, 0));
		bool is_valid = true;

		for (const char *s = render_samples_hostile[i]; *s && is_valid;) {
			size_t step = utf8_sequence(s, strlen(s));

			is_valid = step != 0;
			s += step;
		}
		if (is_valid)
			assert_string_equal(name, render_samples_hostile[i]);
		assert_int_equal(json_string_length(json_array_get(frames, 1)), 1000000);
	}
	json_decref(j);
}

static void speedscope_weights_fit_their_samples(void **state)
{
	json_t *j = as_json("small", "speedscope");
	json_t *profile = json_array_get(json_object_get(j, "profiles"), 0);
	json_t *samples = json_object_get(profile, "samples"), *sample, *index;
	json_t *frames = json_object_get(json_object_get(j, "shared"), "frames");
	json_int_t sum = 0;
	size_t i, k;

	assert_int_equal(json_array_size(samples),
	                 json_array_size(json_object_get(profile, "weights")));
	json_array_foreach(samples, i, sample)
	{
		json_array_foreach(sample, k, index)
			assert_non_null(json_array_get(frames, (size_t)json_integer_value(index)));
		sum += json_integer_value(json_array_get(json_object_get(profile, "weights"), i));
	}
	assert_int_equal(sum, json_integer_value(json_object_get(profile, "endValue")));
	/* root first */
	index = json_array_get(json_array_get(samples, 0), 0);
	assert_string_equal(
		json_string_value(json_object_get(
			json_array_get(frames, (size_t)json_integer_value(index)), "name")),
		"_start");
	json_decref(j);
}

/* ---- table */

static void table_fits_its_terminal(void **state)
{
	static const char *const cases[] = { "small", "diff", "hostile", "deep", "large", "plain" };
	static const int widths[] = { 40, 60, 80, 100, 160 };

	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		cleanup(profile_freep) struct profile *p = render_samples_make(cases[c]);

		for (size_t w = 0; w < ARRAY_SIZE(widths); w++) {
			struct render_options o = plain_options;
			cleanup_free char *text = NULL;
			size_t size, n = 0;
			char *save = NULL;

			o.columns = widths[w];
			text = render_text(p, "table", &o, &size);
			assert_int_equal(strlen(text), size);
			assert_null(strchr(text, '\033'));
			for (char *line = strtok_r(text, "\n", &save); line;
			     line = strtok_r(NULL, "\n", &save), n++) {
				/* the head's lines are for reading in full */
				if (n > 3 && escape_width(line) > (size_t)widths[w] &&
				    widths[w] >= 60)
					fail_msg("%s at %d columns: %zu: %s", cases[c], widths[w],
					         escape_width(line), line);
			}
		}
	}
}

static void table_shows_the_stacks(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("small");
	struct render_options o = plain_options;
	cleanup_free char *text = NULL, *coloured = NULL;
	size_t size;

	o.columns = 120;
	o.rows = 3;
	text = render_text(p, "table", &o, &size);
	/* at least the six nearest names, then the fold, then the root */
	assert_non_null(strstr(text, "5.1 MiB  59.6 %    37,352     6.4 s  +140.6 KiB  "
	                             "AllocSetAlloc \xe2\x86\x90 MemoryContextAlloc"));
	assert_non_null(strstr(text, "appendonly_redo"));
	assert_non_null(strstr(text, "more \xe2\x80\xa6 \xe2\x86\x90 _start"));
	assert_non_null(strstr(text, "context=TopMemoryContext/CacheMemoryContext"));
	assert_non_null(strstr(text, "864.6 KiB   9.8 %  in 4 more stacks"));
	assert_non_null(strstr(text, "0 lost events"));
	assert_non_null(strstr(text, "freed of older blocks 1.2 MiB"));
	o.colour = true;
	coloured = render_text(p, "table", &o, &size);
	assert_non_null(strstr(coloured, "\033[1m"));
}

static void table_folds_recursion_and_unnamed_runs(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("small");
	struct render_options o = plain_options;
	cleanup_free char *text = NULL;
	size_t size;

	o.columns = 200;
	text = render_text(p, "table", &o, &size);
	assert_non_null(strstr(text, "malloc \xe2\x86\x90 expand \xc3\x97"
	                             "5 \xe2\x86\x90 planner"));
	assert_non_null(strstr(text, "libssl.so.3+0x1a2b3 \xe2\x86\x90 \xe2\x80\xa6"
	                             "3 without a name"));
}

static void empty_profiles_are_told(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("empty");
	cleanup_free char *text = NULL;
	size_t size;

	text = render_text(p, "table", &plain_options, &size);
	assert_non_null(strstr(text, "nothing to show"));
	for (size_t i = 0; i < render_n_formats; i++) {
		cleanup_free char *other = NULL;

		if (strcmp(render_formats[i].name, "heap") != 0)
			other = render_text(p, render_formats[i].name, &plain_options, &size);
	}
}

static void unknown_value_type_is_refused(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("plain");
	struct render_options o = { .type = 1, .min_width = -1 };
	cleanup_fclose FILE *null = fopen("/dev/null", "w");
	struct error err;

	for (size_t i = 0; i < render_n_formats; i++)
		assert_int_equal(render_formats[i].write(p, &o, null, &err), -ERANGE);
}

static void bad_regexp_is_refused(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("plain");
	struct render_options o = { .type = -1, .min_width = -1, .focus = "(" };
	cleanup_fclose FILE *null = fopen("/dev/null", "w");
	struct error err;

	for (size_t i = 0; i < render_n_formats; i++)
		assert_int_equal(render_formats[i].write(p, &o, null, &err), -EINVAL);
}

static void focus_and_reverse_reach_the_formats(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("small");
	struct render_options o = {
		.type = -1, .min_width = -1, .focus = "GpPolicyFetch", .reverse = true
	};
	cleanup_free char *folded = NULL, *svg = NULL;
	size_t size;

	folded = render_text(p, "folded", &o, &size);
	assert_memory_equal(folded, "AllocSetAlloc;palloc;GenericXLogStart;GpPolicyFetch;", 52);
	assert_null(strchr(strchr(folded, '\n') + 1, '\n'));
	assert_non_null(strstr(folded, " 912384\n"));
	svg = render_text(p, "svg", &o, &size);
	assert_null(strstr(svg, "ao_truncate_replay"));
	assert_non_null(strstr(svg, ">GpPolicyFetch<"));
}

/* ---- files */

static char dir[64];

static int enter_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_render.XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

/* Fails if there is more than the test itself removed: a temporary file. */
static int leave_dir(void **state)
{
	unlink("a.svg");
	unlink("link.svg");
	unlink("b.json");
	return chdir("/") == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static void put_file(const char *path, const char *text)
{
	cleanup_fclose FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
}

static char *get_file(const char *path)
{
	char *text = calloc(1, 1 << 20);
	cleanup_fclose FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	return text;
}

static int to_file(const char *name, const char *path, struct error *err)
{
	cleanup(profile_freep) struct profile *p = render_samples_make(name);

	return render_to_file(p, render_find("svg"), &plain_options, path, err);
}

static void file_is_replaced(void **state)
{
	cleanup_free char *text = NULL;
	struct error err;
	struct stat st;

	put_file("a.svg", "old");
	assert_int_equal(chmod("a.svg", 0640), 0);
	assert_int_equal(to_file("small", "a.svg", &err), 0);
	text = get_file("a.svg");
	assert_memory_equal(text, "<?xml", 5);
	assert_non_null(strstr(text, "</svg>"));
	assert_int_equal(stat("a.svg", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void new_file_has_the_usual_mode(void **state)
{
	mode_t old = umask(027);
	struct error err;
	struct stat st;

	assert_int_equal(to_file("small", "a.svg", &err), 0);
	umask(old);
	assert_int_equal(stat("a.svg", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void link_stays_a_link(void **state)
{
	cleanup_free char *text = NULL;
	struct error err;
	struct stat st;

	put_file("a.svg", "old");
	assert_int_equal(symlink("a.svg", "link.svg"), 0);
	assert_int_equal(to_file("small", "link.svg", &err), 0);
	assert_int_equal(lstat("link.svg", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	text = get_file("a.svg");
	assert_memory_equal(text, "<?xml", 5);
}

/* A size limit is what a full disk looks like without being root; the signal
 * that comes with it must not end the process. */
static void full_disk_keeps_the_old_file(void **state)
{
	struct rlimit old, small;
	cleanup_free char *text = NULL;
	struct error err = { 0 };
	int r;

	put_file("a.svg", "old");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){ .rlim_cur = 8192, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	r = to_file("small", "a.svg", &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(r, -EFBIG);
	assert_string_equal(err.message, "a.svg: cannot write: File too large");
	text = get_file("a.svg");
	assert_string_equal(text, "old");
}

static void failing_last_byte_keeps_the_old_file(void **state)
{
	cleanup_free char *text = NULL, *whole = NULL;
	struct rlimit old, small;
	struct error err = { 0 };
	int r;

	assert_int_equal(to_file("small", "a.svg", &err), 0);
	whole = get_file("a.svg");
	put_file("a.svg", "old");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){ .rlim_cur = strlen(whole) - 1, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	r = to_file("small", "a.svg", &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(r, -EFBIG);
	text = get_file("a.svg");
	assert_string_equal(text, "old");
}

static void devices_are_written_directly(void **state)
{
	struct error err = { 0 };
	struct stat st;

	assert_int_equal(to_file("small", "/dev/full", &err), -ENOSPC);
	assert_string_equal(err.message, "/dev/full: cannot write: No space left on device");
	assert_int_equal(stat("/dev/full", &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_int_equal(to_file("small", "/dev/null", &err), 0);
	assert_int_equal(stat("/dev/null", &st), 0);
	assert_true(S_ISCHR(st.st_mode));
}

static void places_without_a_file_are_told(void **state)
{
	struct error err = { 0 };

	assert_int_equal(to_file("small", "none/a.svg", &err), -ENOENT);
	assert_non_null(strstr(err.message, "none/a.svg"));
	assert_int_equal(to_file("small", ".", &err), -EISDIR);
	assert_int_equal(to_file("small", "", &err), -EINVAL);
}

static void failing_renderer_leaves_nothing(void **state)
{
	cleanup(profile_freep) struct profile *p = render_samples_make("small");
	struct render_options o = { .type = 99 };
	cleanup_free char *text = NULL;
	struct error err;

	put_file("a.svg", "old");
	assert_int_equal(render_to_file(p, render_find("svg"), &o, "a.svg", &err), -ERANGE);
	text = get_file("a.svg");
	assert_string_equal(text, "old");
}

static void callers_signals_come_back(void **state)
{
	sigset_t before, after;
	struct error err;

	assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &before), 0);
	assert_int_equal(to_file("small", "a.svg", &err), 0);
	assert_int_equal(to_file("small", "none/a.svg", &err), -ENOENT);
	assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &after), 0);
	assert_int_equal(sigismember(&after, SIGXFSZ), sigismember(&before, SIGXFSZ));
	assert_int_equal(sigismember(&after, SIGPIPE), sigismember(&before, SIGPIPE));
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, enter_dir, leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_found),
		cmocka_unit_test(numbers_read_well),
		cmocka_unit_test(foreign_text_is_made_safe),
		cmocka_unit_test(cut_text_keeps_whole_characters),
		cmocka_unit_test(colours_depend_on_module_and_name),
		cmocka_unit_test(diff_colours_grow_with_the_change),
		cmocka_unit_test(children_lie_inside_their_parents),
		cmocka_unit_test(diff_is_as_wide_as_the_larger_side),
		cmocka_unit_test(json_has_the_promised_keys),
		cmocka_unit_test(json_says_what_the_profile_says),
		cmocka_unit_test(intervals_of_parents),
		cmocka_unit_test(json_has_intervals),
		cmocka_unit_test(texts_have_intervals),
		cmocka_unit_test(json_has_lines_where_they_are_known),
		cmocka_unit_test(json_of_hostile_names_gives_them_back),
		cmocka_unit_test(speedscope_weights_fit_their_samples),
		cmocka_unit_test(table_fits_its_terminal),
		cmocka_unit_test(table_shows_the_stacks),
		cmocka_unit_test(table_folds_recursion_and_unnamed_runs),
		cmocka_unit_test(empty_profiles_are_told),
		cmocka_unit_test(unknown_value_type_is_refused),
		cmocka_unit_test(bad_regexp_is_refused),
		cmocka_unit_test(focus_and_reverse_reach_the_formats),
		in_dir(file_is_replaced),
		in_dir(new_file_has_the_usual_mode),
		in_dir(link_stays_a_link),
		in_dir(full_disk_keeps_the_old_file),
		in_dir(failing_last_byte_keeps_the_old_file),
		in_dir(devices_are_written_directly),
		in_dir(places_without_a_file_are_told),
		in_dir(failing_renderer_leaves_nothing),
		in_dir(callers_signals_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
