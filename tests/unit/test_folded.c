/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "profile/folded.h"
#include "profile_check.h"

static struct profile *sample_profile(void)
{
	struct profile *p = check_heap_profile();
	uint32_t leaf = check_code(p, "site_01", "/usr/bin/prog", 0x1136);
	uint32_t plus = check_code(p, "Foo::operator+", "/usr/lib/libstdc++.so.6", 0x99);
	uint32_t bare = check_code(p, "", "/usr/lib/libx.so.1", 0x1fff);
	uint32_t main_ = check_code(p, "main", "/usr/bin/prog", 0x1200);
	uint32_t one[] = { leaf, plus, bare, main_ }, two[] = { plus, main_ };
	uint32_t start[] = { check_named(p, "[before attach]") };

	check_add(p, one, 4, 2, 288);
	check_add(p, two, 2, 1, 12);
	check_add(p, start, 1, 9, 4096);
	check_add(p, two + 1, 1, 5, 0);
	return p;
}

static void folded_is_root_first_and_sorted(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_profile();
	cleanup_free char *text = NULL, *count = NULL;
	size_t len;

	check_written(&text, &len, folded_write(p, -1, to, &err));
	assert_string_equal(text, "[before attach] 4096\n"
	                          "main;Foo::operator+ 12\n"
	                          "main;libx.so.1+0x1fff;Foo::operator+;site_01 288\n");
	check_written(&count, &len, folded_write(p, PROFILE_INUSE_OBJECTS, to, &err));
	assert_string_equal(count, "[before attach] 9\n"
	                           "main 5\n"
	                           "main;Foo::operator+ 1\n"
	                           "main;libx.so.1+0x1fff;Foo::operator+;site_01 2\n");
}

static void equal_stacks_are_one_line(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile();
	uint32_t a = check_code(p, "f", "/a", 1), b = check_code(p, "f", "/a", 2);
	struct profile_label pid = { .key = check_text(p, "pid"), .number = 5 };
	int64_t v[] = { 1, 5, 1, 5 };
	cleanup_free char *text = NULL;
	size_t len;

	check_add(p, &a, 1, 1, 10);
	check_add(p, &b, 1, 1, 20);
	check_ok(profile_add(p, &a, 1, &pid, 1, v, &err));
	check_written(&text, &len, folded_write(p, -1, to, &err));
	assert_string_equal(text, "f 35\n");
}

/* What is written, read and written again. */
static void check_folded_again(const struct profile *p)
{
	cleanup_free char *text = NULL, *again = NULL;
	cleanup(profile_freep) struct profile *back = NULL;
	size_t len, len2;

	check_written(&text, &len, folded_write(p, -1, to, &err));
	check_ok(folded_read(text, len, &back, &err));
	check_written(&again, &len2, folded_write(back, -1, to, &err));
	assert_string_equal(text, again);
}

static void check_stap_again(const struct profile *p)
{
	cleanup_free char *text = NULL, *again = NULL;
	cleanup(profile_freep) struct profile *back = NULL;
	size_t len, len2;

	check_written(&text, &len, folded_write_stap(p, -1, to, &err));
	check_ok(folded_read_stap(text, len, &back, &err));
	check_written(&again, &len2, folded_write_stap(back, -1, to, &err));
	assert_string_equal(text, again);
}

static void both_texts_come_back(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_profile();

	check_folded_again(p);
	check_stap_again(p);
}

static void folded_frames_are_parsed(void **state)
{
	static const char text[] = "  \nmain;libx.so.1+0x1fff;a b 12\r\nmain;x;;y -5\n"
				   "deci mal 2.6\nf+0x0FF 1";
	cleanup(profile_freep) struct profile *p = NULL;
	const struct profile_frame *f;
	struct profile_sample s;
	char buf[64];

	check_ok(folded_read(text, strlen(text), &p, &err));
	assert_int_equal(profile_n_samples(p), 4);
	assert_string_equal(profile_type_at(p, 0)->name, "inuse_space");
	s = profile_sample_at(p, 0);
	assert_int_equal(s.values[0], 12);
	assert_string_equal(profile_frame_text(p, s.frames[0], buf, sizeof(buf)), "a b");
	f = profile_frame_at(p, s.frames[1]);
	assert_int_equal(f->name, 0);
	assert_string_equal(profile_text(p, f->module), "libx.so.1");
	assert_int_equal(f->offset, 0x1fff);
	s = profile_sample_at(p, 1);
	assert_int_equal(s.n_frames, 4);
	assert_int_equal(s.values[0], -5);
	assert_string_equal(profile_frame_text(p, s.frames[1], buf, sizeof(buf)), "[unknown]");
	assert_int_equal(profile_sample_at(p, 2).values[0], 3);
	/* not how we write an offset: a name */
	s = profile_sample_at(p, 3);
	assert_string_equal(profile_frame_text(p, s.frames[0], buf, sizeof(buf)), "f+0x0FF");
}

static void bad_folded_names_the_line(void **state)
{
	static const char *const texts[] = { "a;b 1\nno value\n", "a 1\na;b \n", "a 1\n12\n",
		                             "a 1\nb 99999999999999999999\n", "a 1\nb 1x\n" };
	struct profile *p = NULL;
	struct error err;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(folded_read(texts[i], strlen(texts[i]), &p, &err), -EBADMSG);
		assert_non_null(strstr(err.message, "line 2"));
	}
	assert_int_equal(folded_read("", 0, &p, &err), -EBADMSG);
	assert_null(p);
}

static void stap_text_is_systemtaps(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_profile();
	cleanup_free char *text = NULL;
	size_t len;

	check_written(&text, &len, folded_write_stap(p, -1, to, &err));
	assert_string_equal(text, " 0x1136 : site_01+0x0/0x0 [/usr/bin/prog]\n"
	                          " 0x99 : Foo::operator++0x0/0x0 [/usr/lib/libstdc%2B%2B.so.6]\n"
	                          " 0x1fff : libx.so.1+0x1fff+0x0/0x0 [/usr/lib/libx.so.1]\n"
	                          " 0x1200 : main+0x0/0x0 [/usr/bin/prog]\n"
	                          "\t288\n"
	                          " 0x99 : Foo::operator++0x0/0x0 [/usr/lib/libstdc%2B%2B.so.6]\n"
	                          " 0x1200 : main+0x0/0x0 [/usr/bin/prog]\n"
	                          "\t12\n"
	                          " 0x0 : [before attach]+0x0/0x0\n"
	                          "\t4096\n");
}

static void stap_comes_back_frame_by_frame(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_profile(), *back = NULL;
	cleanup_free char *text = NULL;
	size_t len;

	check_written(&text, &len, folded_write_stap(p, -1, to, &err));
	check_ok(folded_read_stap(text, len, &back, &err));
	assert_int_equal(profile_n_samples(back), 3);
	for (size_t i = 0; i < 3; i++) {
		struct profile_sample a = profile_sample_at(p, i), b = profile_sample_at(back, i);

		assert_int_equal(a.n_frames, b.n_frames);
		assert_int_equal(a.values[PROFILE_INUSE_SPACE], b.values[0]);
		for (size_t k = 0; k < a.n_frames; k++)
			check_same_frame(p, a.frames[k], back, b.frames[k]);
	}
}

/* As a SystemTap script prints them. */
static void foreign_stap_is_read(void **state)
{
	static const char text[] = " 0xffffffff8103ce3b : native_safe_halt+0xb/0x10 [kernel]\n"
				   " 0x7f63b1 : std::string::append+0x10/0x200 "
				   "[/usr/lib/libstdc++.so.6.0.30] (inexact)\n"
				   " 0x7f63b2 : 0x7f63b2 [/usr/lib/libc.so.6+0x22000/0x1b8000]\n"
				   " 0x7f0000\n"
				   "\n"
				   "\t2404\n";
	cleanup(profile_freep) struct profile *p = NULL;
	const struct profile_frame *f;
	struct profile_sample s;
	char buf[64];

	check_ok(folded_read_stap(text, strlen(text), &p, &err));
	assert_int_equal(profile_n_samples(p), 1);
	s = profile_sample_at(p, 0);
	assert_int_equal(s.values[0], 2404);
	assert_int_equal(s.n_frames, 4);
	f = profile_frame_at(p, s.frames[0]);
	assert_string_equal(profile_text(p, f->name), "native_safe_halt");
	assert_string_equal(profile_text(p, f->module), "kernel");
	assert_true(f->offset == 0xffffffff8103ce3b);
	f = profile_frame_at(p, s.frames[1]);
	assert_string_equal(profile_text(p, f->name), "std::string::append");
	assert_string_equal(profile_text(p, f->module), "/usr/lib/libstdc++.so.6.0.30");
	assert_string_equal(profile_frame_text(p, s.frames[2], buf, sizeof(buf)),
	                    "libc.so.6+0x22000");
	assert_string_equal(profile_frame_text(p, s.frames[3], buf, sizeof(buf)), "0x7f0000");
}

static void stap_limits_are_kept(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile();
	cleanup_free char *text = NULL, *many = NULL;
	uint32_t a = check_named(p, "a");
	int64_t v[] = { -1, -1, -1, -1 };
	struct profile *back = NULL;
	struct error e;
	size_t len;
	FILE *to;

	assert_int_equal(folded_read_stap(" 0x1 : a+0x1/0x2 [m]\n", 22, &back, &e), -EBADMSG);
	assert_non_null(strstr(e.message, "inside a stack"));
	check_ok(profile_add(p, &a, 1, NULL, 0, v, &err));
	to = open_memstream(&text, &len);
	assert_int_equal(folded_write_stap(p, -1, to, &e), -EINVAL);
	assert_int_equal(folded_write(p, 4, to, &e), -EINVAL);
	fclose(to);
	to = open_memstream(&many, &len);
	for (int i = 0; i < PROFILE_MAX_FRAMES + 1; i++)
		fprintf(to, " 0x1 : f+0x1/0x2 [m]\n");
	fputs("1\n", to);
	fclose(to);
	assert_int_equal(folded_read_stap(many, len, &back, &e), -EBADMSG);
	assert_null(back);
}

static void hostile_names_break_no_line(void **state)
{
	static const char *const names[] = {
		"<script>alert(1)</script>",
		"a;b;c",
		"new\nline\r\n5",
		"12345",
		" 7",
		"\"'\\`$(x)",
		"\377\376bad",
		"a : b",
		": c",
		"%s%n%d",
		"operator%",
		"+",
		"++0x1/0x2 [x]",
		"]",
		" ",
		"tab\there",
		"\x1b[31mred",
		"x+0x10",
		"/",
		"-",
		"[unknown]",
	};
	cleanup(profile_freep) struct profile *p = check_heap_profile(), *folded = NULL,
					      *stap = NULL;
	cleanup_free char *big = malloc((1 << 20) + 1), *text = NULL, *text2 = NULL;
	uint32_t stack[2] = { 0, check_named(p, "main") };
	int64_t total = 0;
	size_t len;

	memset(big, '+', 1 << 20);
	big[1 << 20] = '\0';
	for (size_t i = 0; i <= ARRAY_SIZE(names); i++) {
		const char *name = i < ARRAY_SIZE(names) ? names[i] : big;

		stack[0] = i % 2 ? check_named(p, name) : check_code(p, name, name, 0x10);
		check_add(p, stack, 2, 1, 1 << i);
		total += 1 << i;
	}
	check_written(&text, &len, folded_write(p, -1, to, &err));
	for (size_t i = 0; i < len; i++)
		assert_true((unsigned char)text[i] >= 0x20 || text[i] == '\n');
	check_ok(folded_read(text, len, &folded, &err));
	assert_int_equal(profile_total(folded, 0), total);
	for (size_t i = 0; i < profile_n_samples(folded); i++)
		assert_int_equal(profile_sample_at(folded, i).n_frames, 2);
	check_folded_again(p);
	check_written(&text2, &len, folded_write_stap(p, -1, to, &err));
	check_ok(folded_read_stap(text2, len, &stap, &err));
	assert_int_equal(profile_total(stap, 0), total);
	for (size_t i = 0; i < profile_n_samples(stap); i++)
		assert_int_equal(profile_sample_at(stap, i).n_frames, 2);
	check_stap_again(p);
	assert_null(strstr(text2, "%n"));
	assert_non_null(strstr(text2, "operator%+0x0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folded_is_root_first_and_sorted),
		cmocka_unit_test(equal_stacks_are_one_line),
		cmocka_unit_test(both_texts_come_back),
		cmocka_unit_test(folded_frames_are_parsed),
		cmocka_unit_test(bad_folded_names_the_line),
		cmocka_unit_test(stap_text_is_systemtaps),
		cmocka_unit_test(stap_comes_back_frame_by_frame),
		cmocka_unit_test(foreign_stap_is_read),
		cmocka_unit_test(stap_limits_are_kept),
		cmocka_unit_test(hostile_names_break_no_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
