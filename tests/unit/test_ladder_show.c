/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ladders drawn, saved and read back, compared, watched: against parts made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "ladder_sample.h"
#include "profile/ladder_diff.h"
#include "profile/ladder_rows.h"
#include "profile/profile_file.h"
#include "profile/saved_ladder.h"
#include "render/ladder_watch.h"
#include "render/render.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

static const struct sample_part silly[] = {
	{ "thread-stack", "worker-0", 8 * MIB, 8 * KIB, -1, -1, "tid 4715", "tid=4715" },
	{ "thread-stack", "worker-1", 8 * MIB, 8 * KIB, -1, -1, "tid 4716", "tid=4716" },
	{ "thread-stack", "worker-1", 8 * MIB, 8 * KIB, -1, -1, "tid 4717", "tid=4717" },
	{ "glibc-arena", "arena 1", 64 * MIB, 12 * KIB, 4 * KIB, 1 * KIB,
	  "made for thread worker-0 (tid 4715)", "free_bytes=2048 chunks=5" },
	{ "jemalloc", "jemalloc 5.3", 16 * MIB, 4 * MIB, 3 * MIB, 0, "",
	  "dirty_bytes=524288 retained_bytes=3145728" },
	{ "lua", "Lua 5.4 state", 0, 0, 1 * MIB, -1, "", "", "jemalloc" },
	{ "file", "libc.so.6", 2 * MIB, 1 * MIB, -1, -1 },
	{ "file", "silly", 1 * MIB, 512 * KIB, -1, -1 },
	{ 0 },
};

static char *draw(const struct profile *p, const char *format, const struct render_options *o)
{
	char *text = NULL;
	size_t size = 0;
	struct error err = { 0 };
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	if (render_find(format)->write(p, o, to, &err) < 0)
		fail_msg("%s", err.message);
	fclose(to);
	return text;
}

static char *draw_plain(const struct profile *p, const char *format)
{
	const struct render_options o = { .type = -1, .min_width = -1 };

	return draw(p, format, &o);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in\n%s", part, text);
}

/* Line of @text that begins (after blanks) with @start. */
static char *line_of(const char *text, const char *start)
{
	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		if (!strncmp(text + strspn(text, " "), start, strlen(start)))
			return strndup(text, strcspn(text, "\n"));
	}
	fail_msg("no line begins with \"%s\"", start);
	return NULL;
}

static void rows_are_grouped_with_their_sums(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_ladder(silly);
	cleanup_free char *text = draw_plain(p, "table");
	cleanup_free char *stacks = line_of(text, "thread stacks"), *je = line_of(text, "jemalloc"),
			  *arena = line_of(text, "glibc arena"), *files = line_of(text, "files"),
			  *unnamed = line_of(text, "unnamed"), *lua = line_of(text, "Lua");

	/* in use 4 MiB and 4 KiB less 1 KiB in thread caches; Lua's lie in jemalloc's */
	assert_has(text, "VIRTUAL 107.0 MiB \xe2\x96\xb8 RESIDENT 5.5 \xe2\x96\xb8 ALLOCATOR 4.0 "
	                 "\xe2\x96\xb8 APPLICATION 3.0\n");
	assert_has(text, "silly (4711), 7 to itself");
	assert_has(stacks, "thread stacks \xc3\x97"
	                   "3");
	assert_has(stacks, "24.0      24K  worker-1 \xc3\x97"
	                   "2 16K, worker-0 8K");
	assert_has(arena, "64.0      12K  in use 4K \xc2\xb7 in thread caches 1K \xc2\xb7 free 2K");
	assert_has(arena, "arena 1 12K");
	assert_has(je, "jemalloc 5.3");
	assert_has(je, "16.0      4.0  in use 3.0 \xc2\xb7 dirty 0.5 \xc2\xb7 retained 3.0");
	assert_has(files, "files \xc3\x97"
	                  "2");
	assert_has(files, "libc.so.6 1.0, silly 0.5");
	assert_has(lua, "inside jemalloc");
	/* there, though there is nothing in it */
	assert_has(unnamed, "0.0      0.0");
	assert_has(text, "VmRSS 5.5, counted here +8K");
}

static void all_rows_come_with_their_evidence(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_ladder(silly);
	const struct render_options all = { .type = -1, .rows = 1000 },
				    one = { .type = -1, .rows = 1 };
	cleanup_free char *text = draw(p, "table", &all), *first = draw(p, "table", &one);
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, "proof: made by hand")); at++)
		n++;
	assert_int_equal(n, ARRAY_SIZE(silly) - 1);
	assert_has(text, "tid 4716");
	assert_has(first, "more \xc3\x97"
	                  "2");
	assert_null(strstr(first, "tid 4716"));
}

static void many_names_become_a_few_and_a_sum(void **state)
{
	struct sample_part parts[202] = { 0 };
	char names[201][16];
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup_free char *text = NULL, *files = NULL;

	for (int i = 0; i < 200; i++) {
		snprintf(names[i], sizeof(names[i]), "lib%03d.so", i);
		parts[i] = (struct sample_part){ "file", names[i], 2 * MIB, MIB, -1, -1 };
	}
	p = sample_ladder(parts);
	text = draw_plain(p, "table");
	files = line_of(text, "files");
	assert_has(files, "files \xc3\x97"
	                  "200");
	assert_has(files,
	           "400.0    200.0  lib000.so 1.0, lib001.so 1.0, lib002.so 1.0, +197: 197.0");
}

static void unknown_in_use_is_no_zero(void **state)
{
	static const struct sample_part parts[] = {
		{ "jemalloc", "jemalloc", 4 * MIB, 2 * MIB, -1, -1, "", "", "",
		  "size known, inside unknown: no such version" },
		{ "glibc-arena", "main arena", MIB, MIB, MIB, 0 },
		{ 0 },
	};
	cleanup(profile_freep) struct profile *p = sample_ladder(parts);
	cleanup_free char *text = draw_plain(p, "table"), *json = draw_plain(p, "json");

	assert_has(text, "APPLICATION \xe2\x89\xa5 1.0");
	assert_has(text, "size known, inside unknown");
	assert_has(json, "\"in_use_bytes\":null");
	assert_has(json, "\"application_at_least\":true");
}

static const char hostile_name[] = "a\033[2J\nVIRTUAL \xe2\x80\xae\xff\"<script>";

static void hostile_names_are_made_safe(void **state)
{
	struct sample_part parts[] = {
		{ "file", hostile_name, MIB, MIB, -1, -1, hostile_name },
		{ "thread-stack", hostile_name, MIB, MIB, -1, -1, hostile_name, hostile_name },
		{ hostile_name, hostile_name, MIB, MIB, -1, -1, hostile_name },
		{ 0 },
	};
	cleanup(profile_freep) struct profile *p = sample_ladder(parts);
	const struct render_options narrow = { .type = -1, .columns = 1, .rows = 9 };
	static const char *const formats[] = { "table", "svg" };
	cleanup_free char *json = NULL, *small = NULL;
	json_t *root;

	sample_setting(p, hostile_name, hostile_name);
	sample_finding(p, hostile_name, hostile_name, hostile_name);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		cleanup_free char *text = draw_plain(p, formats[i]);

		assert_null(strchr(text, '\033'));
		assert_null(strstr(text, "\xe2\x80\xae"));
	}
	small = draw(p, "table", &narrow);
	assert_null(strchr(small, '\033'));
	json = draw_plain(p, "json");
	root = json_loads(json, 0, NULL);
	assert_non_null(root);
	json_decref(root);
}

static void lines_fit_their_terminal(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_ladder(silly);

	sample_finding(p, "a rather long text of many words that has to be broken somewhere",
	               "so is its evidence, which goes on and on and on and does not end yet",
	               "and the remedy, which is to write shorter sentences, or none at all");
	for (int columns = 64; columns <= 200; columns += 17) {
		const struct render_options o = { .type = -1, .columns = columns };
		cleanup_free char *text = draw(p, "table", &o);

		for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
			size_t bytes = strcspn(at, "\n"), width = 0;

			for (size_t i = 0; i < bytes; i++)
				width += (at[i] & 0xc0) != 0x80;
			if (strncmp(at, "VIRTUAL", 7) != 0 && width > (size_t)columns)
				fail_msg("%zu columns, not %d: %.*s", width, columns, (int)bytes,
				         at);
		}
	}
}

static void json_says_what_the_parts_say(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_ladder(silly);
	cleanup_free char *text = NULL;
	int64_t sum = 0;
	json_t *root, *parts, *part;
	size_t i;

	sample_setting(p, "env MALLOC_ARENA_MAX", "1");
	text = draw_plain(p, "json");
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	parts = json_object_get(root, "parts");
	assert_int_equal(json_array_size(parts), ARRAY_SIZE(silly) - 1);
	json_array_foreach(parts, i, part)
	{
		sum += json_integer_value(json_object_get(part, "virtual_bytes"));
		assert_string_equal(json_string_value(json_object_get(part, "kind")),
		                    silly[i].kind);
		assert_true(json_is_object(json_object_get(part, "figures")));
	}
	assert_int_equal(sum, json_integer_value(json_object_get(root, "virtual_bytes")));
	part = json_array_get(parts, 4);
	assert_int_equal(json_integer_value(
				 json_object_get(json_object_get(part, "figures"), "dirty_bytes")),
	                 524288);
	assert_int_equal(json_integer_value(json_object_get(root, "application_bytes")),
	                 3 * MIB + 3 * KIB);
	assert_string_equal(json_string_value(json_object_get(json_object_get(root, "settings"),
	                                                      "env MALLOC_ARENA_MAX")),
	                    "1");
	assert_true(json_is_array(json_object_get(root, "findings")));
	assert_true(json_is_array(json_object_get(root, "cgroup")));
	assert_null(json_object_get(root, "stacks"));
	json_decref(root);
}

static void a_saved_ladder_is_the_same(void **state)
{
	static const char *const formats[] = { "table", "json", "svg", "folded" };
	cleanup(profile_freep) struct profile *p = sample_ladder(silly), *back = NULL;
	cleanup_free char *saved = NULL;
	struct error err;

	sample_setting(p, "rlimit stack", "8192 kB");
	sample_finding(p, "something", "seen", "do it");
	saved = draw_plain(p, "json");
	assert_true(saved_ladder_is(saved, strlen(saved)));
	assert_int_equal(profile_file_parse(saved, strlen(saved), &back, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		cleanup_free char *a = draw_plain(p, formats[i]), *b = draw_plain(back, formats[i]);

		assert_string_equal(a, b);
	}
}

static void damaged_ladders_are_refused(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_ladder(silly);
	cleanup_free char *saved = draw_plain(p, "json");
	struct profile *back = NULL;
	struct error err;

	for (size_t n = strlen(saved) - 2; n > 0; n /= 2) {
		assert_int_equal(saved_ladder_parse(saved, n, &back, &err), -EBADMSG);
		assert_null(back);
	}
	assert_int_equal(saved_ladder_parse("{\"format\":\"memwho-ladder-1\"}", 28, &back, &err),
	                 -EBADMSG);
}

static void negative_sizes_are_nothing(void **state)
{
	static const char text[] =
		"{\"format\":\"memwho-ladder-1\",\"result\":\"ladder\",\"virtual_bytes\":-5,"
		"\"parts\":[{\"kind\":\"file\",\"name\":3,\"virtual_bytes\":-9223372036854775808,"
		"\"resident_bytes\":9223372036854775807,\"figures\":{\"a_bytes\":1,\"b c\":2}},7,"
		"{\"kind\":\"file\",\"resident_bytes\":9223372036854775807}]}";
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(ladder_rows_clear) struct ladder_rows rows = { 0 };
	cleanup_free char *table = NULL;
	struct error err;

	assert_int_equal(profile_file_parse(text, strlen(text), &p, &err), 0);
	assert_int_equal(ladder_rows_make(p, &rows, &err), 0);
	assert_int_equal(rows.n, 3);
	assert_int_equal(rows.items[0].virtual_bytes, 0);
	assert_string_equal(rows.items[0].figures, "a_bytes=1");
	assert_int_equal(rows.items[0].in_use_bytes, -1);
	table = draw_plain(p, "table");
	assert_has(table, "unnamed");
}

/* The same program with one arena less and smaller stacks. */
static const struct sample_part smaller[] = {
	{ "thread-stack", "worker-0", 1 * MIB, 8 * KIB, -1, -1, "tid 15", "tid=15" },
	{ "thread-stack", "worker-1", 1 * MIB, 8 * KIB, -1, -1, "tid 16", "tid=16" },
	{ "thread-stack", "worker-1", 1 * MIB, 8 * KIB, -1, -1, "tid 17", "tid=17" },
	{ "jemalloc", "jemalloc 5.3", 16 * MIB, 4 * MIB, 3 * MIB, 0 },
	{ "lua", "Lua 5.4 state", 0, 0, 1 * MIB, -1, "", "", "jemalloc" },
	{ "file", "libc.so.6", 2 * MIB, 1 * MIB, -1, -1 },
	{ "file", "silly", 1 * MIB, 512 * KIB, -1, -1 },
	{ 0 },
};

static void put_settings(struct profile *p, const char *arena_max, const char *stack)
{
	sample_setting(p, "kernel", "6.1");
	if (arena_max)
		sample_setting(p, "env MALLOC_ARENA_MAX", arena_max);
	sample_setting(p, "rlimit stack", stack);
}

static void differences_come_with_their_settings(void **state)
{
	cleanup(profile_freep) struct profile *a = sample_ladder(silly),
					      *b = sample_ladder(smaller), *d = NULL;
	cleanup_free char *text = NULL, *json = NULL, *svg = NULL;
	struct error err;
	json_t *root, *list;

	put_settings(a, NULL, "8192 kB");
	put_settings(b, "1", "1024 kB");
	assert_int_equal(ladder_diff_profile(a, b, NULL, &d, &err), 0);
	text = draw_plain(d, "table");
	assert_has(text, "VIRTUAL 107.0 \xe2\x86\x92 22.0 MiB (-85.0)");
	assert_has(text,
	           "64.0      0.0    -64.0      12K      0.0     -12K  glibc arena arena 1: in "
	           "the first");
	assert_has(text,
	           "16.0      2.0    -14.0      16K      16K           thread stack worker-1");
	assert_has(text,
	           "! 1 glibc arena is in the first only (65,536 kB, made for thread worker-0");
	assert_has(text, "(not set) \xe2\x86\x92 1");
	assert_has(text, "! a thread's stack is 8,192 kB in the first and 1,024 kB in the second");
	assert_null(strstr(text, "libc.so.6"));
	json = draw_plain(d, "json");
	root = json_loads(json, 0, NULL);
	assert_non_null(root);
	assert_int_equal(json_array_size(json_object_get(root, "differences")), 3);
	list = json_object_get(root, "settings");
	assert_int_equal(json_array_size(list), 2);
	list = json_object_get(root, "explanations");
	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "bytes")),
	                 -64 * MIB);
	json_decref(root);
	svg = draw_plain(d, "svg");
	assert_has(svg, "glibc-arena");
}

static void equal_settings_explain_nothing(void **state)
{
	cleanup(profile_freep) struct profile *a = sample_ladder(silly),
					      *b = sample_ladder(smaller), *d = NULL, *same = NULL;
	cleanup_free char *text = NULL, *none = NULL;
	struct error err;

	put_settings(a, "1", "8192 kB");
	put_settings(b, "1", "8192 kB");
	assert_int_equal(ladder_diff_profile(a, b, NULL, &d, &err), 0);
	text = draw_plain(d, "table");
	assert_has(text, "glibc arena arena 1");
	assert_null(strchr(text, '!'));
	assert_null(strstr(text, "settings that differ"));
	assert_int_equal(ladder_diff_profile(a, a, NULL, &same, &err), 0);
	none = draw_plain(same, "table");
	assert_has(none, "No row differs");
}

/* Stacks of 8 and 1 MiB and a limit that is neither: the program's own choice. */
static void a_setting_that_does_not_fit_is_not_blamed(void **state)
{
	cleanup(profile_freep) struct profile *a = sample_ladder(silly),
					      *b = sample_ladder(smaller), *d = NULL;
	cleanup_free char *text = NULL;
	struct error err;

	put_settings(a, NULL, "8192 kB");
	put_settings(b, NULL, "4096 kB");
	assert_int_equal(ladder_diff_profile(a, b, NULL, &d, &err), 0);
	text = draw_plain(d, "table");
	assert_has(text, "rlimit stack");
	assert_null(strchr(text, '!'));
}

static void growth_is_told_per_second(void **state)
{
	static const struct sample_part then[] = {
		{ "jemalloc", "jemalloc 5.3", 16 * MIB, 4 * MIB, 3 * MIB, 0 },
		{ "file", "libc.so.6", 2 * MIB, MIB, -1, -1 },
		{ "thread-stack", "gone", 8 * MIB, 8 * KIB, -1, -1 },
		{ 0 },
	};
	static const struct sample_part now[] = {
		{ "jemalloc", "jemalloc 5.3", 36 * MIB, 14 * MIB, 13 * MIB, 0 },
		{ "file", "libc.so.6", 2 * MIB, MIB, -1, -1 },
		{ 0 },
	};
	cleanup(profile_freep) struct profile *a = sample_ladder(then), *b = sample_ladder(now);
	cleanup_free char *text = NULL, *je = NULL, *gone = NULL;
	struct error err;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	assert_int_equal(ladder_watch_write(a, b, 2.0, false, NULL, to, &err), 0);
	fclose(to);
	assert_has(text, "RESIDENT 15.0 (+5.0/s)");
	je = line_of(text, "jemalloc");
	assert_has(je, "36.0    +10.0     14.0     +5.0     13.0     +5.0");
	gone = line_of(text, "thread stack gone");
	assert_has(gone, "-4.0");
	assert_null(strstr(text, "libc"));
}

static void filters_leave_rows_out(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_ladder(silly);
	const struct render_options o = { .type = -1, .focus = "^lib|^glibc", .ignore = "arena" };
	cleanup_free char *text = draw(p, "table", &o);

	assert_has(text, "libc.so.6");
	assert_null(strstr(text, "jemalloc"));
	assert_null(strstr(text, "glibc arena"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_grouped_with_their_sums),
		cmocka_unit_test(all_rows_come_with_their_evidence),
		cmocka_unit_test(many_names_become_a_few_and_a_sum),
		cmocka_unit_test(unknown_in_use_is_no_zero),
		cmocka_unit_test(hostile_names_are_made_safe),
		cmocka_unit_test(lines_fit_their_terminal),
		cmocka_unit_test(json_says_what_the_parts_say),
		cmocka_unit_test(a_saved_ladder_is_the_same),
		cmocka_unit_test(damaged_ladders_are_refused),
		cmocka_unit_test(negative_sizes_are_nothing),
		cmocka_unit_test(differences_come_with_their_settings),
		cmocka_unit_test(equal_settings_explain_nothing),
		cmocka_unit_test(a_setting_that_does_not_fit_is_not_blamed),
		cmocka_unit_test(growth_is_told_per_second),
		cmocka_unit_test(filters_leave_rows_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
