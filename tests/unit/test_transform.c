/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "profile/folded.h"
#include "profile/transform.h"
#include "profile_check.h"

static void expect_folded(const struct profile *p, int type, const char *expected)
{
	cleanup_free char *text = NULL;
	size_t len;

	check_written(&text, &len, folded_write(p, type, to, &err));
	assert_string_equal(text, expected);
}

static struct profile *from_folded(const char *text)
{
	struct profile *p;

	check_ok(folded_read(text, strlen(text), &p, &err));
	return p;
}

static void merge_adds_what_is_equal(void **state)
{
	cleanup(profile_freep) struct profile *a = check_heap_profile(), *b = check_heap_profile();
	uint32_t in_a[] = { check_code(a, "f", "/x", 1), check_code(a, "main", "/x", 2) };
	uint32_t other = check_named(b, "other"), in_b[2];
	struct profile_label la = { .key = check_text(a, "pid"), .number = 1 }, lb;
	int64_t v[] = { 1, 2, 3, 4 };
	struct profile_sample s;

	in_b[1] = check_code(b, "main", "/x", 2);
	in_b[0] = check_code(b, "f", "/x", 1);
	lb = (struct profile_label){ .key = check_text(b, "pid"), .number = 1 };
	check_ok(profile_module_set(b, check_text(b, "/x"), check_text(b, "ab12"), &err));
	check_ok(profile_add(a, in_a, 2, &la, 1, v, &err));
	check_ok(profile_add(b, &other, 1, NULL, 0, v, &err));
	check_ok(profile_add(b, in_b, 2, &lb, 1, v, &err));
	profile_set_time(a, 500, 10);
	profile_set_time(b, 400, 30);
	check_ok(transform_merge(a, b, &err));
	assert_int_equal(profile_n_samples(a), 2);
	s = profile_sample_at(a, 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(s.values[i], 2 * v[i]);
	assert_string_equal(profile_text(a, profile_module_at(a, 0)->build_id), "ab12");
	assert_int_equal(profile_start_unix_ns(a), 400);
	assert_int_equal(profile_duration_ns(a), 30);
	/* into itself: everything doubles */
	check_ok(transform_merge(a, a, &err));
	assert_int_equal(profile_total(a, 3), 24);
	assert_int_equal(profile_n_samples(a), 2);
}

static void merge_matches_types_by_name(void **state)
{
	struct profile_type ab[] = { { "a", "x" }, { "b", "y" } }, ba[] = { ab[1], ab[0] };
	cleanup(profile_freep) struct profile *p = NULL, *q = NULL, *heap = check_heap_profile();
	int64_t one[] = { 1, 100 }, two[] = { 200, 2 };
	struct error e;

	check_ok(profile_new(&p, ab, 2, 0, &err));
	check_ok(profile_new(&q, ba, 2, 0, &err));
	check_ok(profile_add(p, NULL, 0, NULL, 0, one, &err));
	check_ok(profile_add(q, NULL, 0, NULL, 0, two, &err));
	check_ok(transform_merge(p, q, &err));
	assert_int_equal(profile_total(p, 0), 3);
	assert_int_equal(profile_total(p, 1), 300);
	assert_int_equal(transform_merge(p, heap, &e), -EINVAL);
	assert_int_equal(profile_total(p, 0), 3);
}

static void diff_is_after_minus_before(void **state)
{
	cleanup(profile_freep) struct profile *before = from_folded(
		"main;a 10\nmain;b 5\nmain;c 7\n");
	cleanup(profile_freep) struct profile *after = from_folded(
		"main;a 25\nmain;b 5\nmain;d 1\n");
	cleanup(profile_freep) struct profile *d = NULL;

	check_ok(transform_diff(before, after, NULL, &d, &err));
	assert_int_equal(profile_n_types(d), 3);
	assert_int_equal(profile_default_type(d), 2);
	assert_string_equal(profile_type_at(d, 0)->name, "after");
	assert_string_equal(profile_type_at(d, 1)->name, "before");
	assert_string_equal(profile_type_at(d, 2)->name, "delta");
	assert_string_equal(profile_type_at(d, 2)->unit, "bytes");
	expect_folded(d, 0, "main;a 25\nmain;b 5\nmain;d 1\n");
	expect_folded(d, 1, "main;a 10\nmain;b 5\nmain;c 7\n");
	expect_folded(d, -1, "main;a 15\nmain;c -7\nmain;d 1\n");
	assert_int_equal(report_get(profile_report(d), "delta_total")->integer, 9);
	assert_int_equal(report_get(profile_report(d), "before_total")->integer, 22);
	assert_int_equal(report_get(profile_report(d), "after_total")->integer, 31);
	assert_string_equal(report_get(profile_report(d), "diff_type")->text, "inuse_space");
}

static void diff_does_not_look_at_addresses(void **state)
{
	cleanup(profile_freep) struct profile *a = check_heap_profile(), *b = check_heap_profile();
	cleanup(profile_freep) struct profile *d = NULL;
	/* a rebuilt program elsewhere: other offsets, other folder, other pid */
	uint32_t in_a[] = { check_code(a, "f", "/old/prog", 1), check_code(a, "", "/lib/x.so", 9) };
	uint32_t in_b[] = { check_code(b, "f", "/new/prog", 5),
		            check_code(b, "", "/lib2/x.so", 9) };
	struct profile_label pid_a = { .key = check_text(a, "pid"), .number = 1 };
	struct profile_label labels_b[] = { { .key = check_text(b, "pid"), .number = 2 },
		                            { .key = check_text(b, "tid"), .number = 3 } };
	int64_t v[] = { 1, 1, 1, 100 }, w[] = { 1, 1, 1, 130 };

	check_ok(profile_add(a, in_a, 2, &pid_a, 1, v, &err));
	check_ok(profile_add(b, in_b, 2, labels_b, 2, w, &err));
	check_ok(transform_diff(a, b, NULL, &d, &err));
	assert_int_equal(profile_n_samples(d), 1);
	assert_int_equal(profile_sample_at(d, 0).values[2], 30);
	assert_int_equal(profile_sample_at(d, 0).n_labels, 0);
	profile_freep(&d);
	/* another value type, by name */
	check_ok(transform_diff(a, b, "alloc_objects", &d, &err));
	assert_string_equal(profile_type_at(d, 0)->unit, "count");
	assert_int_equal(profile_sample_at(d, 0).values[0], 1);
}

static void other_offsets_and_contexts_stay_apart(void **state)
{
	cleanup(profile_freep) struct profile *a = check_heap_profile(), *b = check_heap_profile();
	cleanup(profile_freep) struct profile *d = NULL;
	uint32_t in_a = check_code(a, "", "/x", 1), in_b = check_code(b, "", "/x", 2);
	uint32_t f_a = check_named(a, "f"), f_b = check_named(b, "f");
	struct profile_label la = { .key = check_text(a, "context"), .text = check_text(a, "A") };
	struct profile_label lb = { .key = check_text(b, "context"), .text = check_text(b, "B") };
	int64_t v[] = { 1, 1, 1, 100 };

	check_ok(profile_add(a, &in_a, 1, NULL, 0, v, &err));
	check_ok(profile_add(b, &in_b, 1, NULL, 0, v, &err));
	check_ok(profile_add(a, &f_a, 1, &la, 1, v, &err));
	check_ok(profile_add(b, &f_b, 1, &lb, 1, v, &err));
	check_ok(transform_diff(a, b, NULL, &d, &err));
	assert_int_equal(profile_n_samples(d), 4);
	assert_int_equal(profile_total(d, 2), 0);
}

static void diff_refuses_what_does_not_compare(void **state)
{
	cleanup(profile_freep) struct profile *heap = check_heap_profile();
	struct profile_type cpu = { "cpu", "nanoseconds" };
	cleanup(profile_freep) struct profile *other = NULL;
	struct profile *d = NULL;
	struct error e;

	check_ok(profile_new(&other, &cpu, 1, 0, &err));
	assert_int_equal(transform_diff(heap, other, NULL, &d, &e), -EINVAL);
	assert_int_equal(transform_diff(heap, heap, "nothing", &d, &e), -EINVAL);
	assert_non_null(strstr(e.hint, "inuse_space"));
	assert_null(d);
}

static void focus_and_ignore_select(void **state)
{
	cleanup(profile_freep) struct profile *p = from_folded("main;a;x 1\nmain;b;x 2\nmain;c 4\n"
	                                                       "main;libx.so+0x1f 8\n");
	struct transform_options o = { .focus = "^x$" };
	cleanup(profile_freep) struct profile *q = NULL, *r = NULL, *s = NULL, *t = NULL;
	struct error e;

	check_ok(report_int(profile_report(p), "lost", NULL, 3, "", &err));
	check_ok(transform_apply(p, &o, &q, &err));
	expect_folded(q, -1, "main;a;x 1\nmain;b;x 2\n");
	assert_int_equal(report_get(profile_report(q), "lost")->integer, 3);
	o.ignore = "a|zzz";
	check_ok(transform_apply(p, &o, &r, &err));
	/* "main" has an a, too */
	expect_folded(r, -1, "");
	o = (struct transform_options){ .ignore = "^a$" };
	check_ok(transform_apply(p, &o, &s, &err));
	expect_folded(s, -1, "main;b;x 2\nmain;c 4\nmain;libx.so+0x1f 8\n");
	o = (struct transform_options){ .focus = "so\\+0x1f" };
	check_ok(transform_apply(p, &o, &t, &err));
	expect_folded(t, -1, "main;libx.so+0x1f 8\n");
	o.focus = "(";
	assert_int_equal(transform_apply(p, &o, &t, &e), -EINVAL);
	assert_non_null(strstr(e.message, "regular expression"));
}

static void reverse_and_no_inline(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile(), *q = NULL;
	struct profile_frame in = { .name = check_text(p, "inlined"), .inlined = true };
	uint32_t stack[] = { 0, check_named(p, "leaf"), check_named(p, "main") };
	struct transform_options o = { .reverse = true, .no_inline = true };

	check_ok(profile_frame(p, &in, &stack[0], &err));
	check_add(p, stack, 3, 1, 10);
	check_ok(transform_apply(p, &o, &q, &err));
	expect_folded(q, -1, "leaf;main 10\n");
	expect_folded(p, -1, "main;leaf;inlined 10\n");
}

static void by_makes_a_root_frame(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile();
	uint32_t stack[] = { check_code(p, "f", "/lib/libx.so", 1),
		             check_code(p, "main", "/bin/y", 2) };
	struct profile_label labels[] = { { .key = check_text(p, "tid"), .number = 7 },
		                          { .key = check_text(p, "context"),
		                            .text = check_text(p, "Top") } };
	static const struct {
		const char *by, *expected;
	} cases[] = {
		{ "tid", "7;main;f 300\n[no tid];main;f 50\n" },
		{ "thread", "7;main;f 300\n[no thread];main;f 50\n" },
		{ "context", "Top;main;f 300\n[no context];main;f 50\n" },
		{ "module", "libx.so;main;f 350\n" },
		{ "size", "33 to 64 bytes;main;f 50\n65 to 128 bytes;main;f 300\n" },
	};
	int64_t v[] = { 0, 0, 3, 300 }, w[] = { 0, 0, 1, 50 };

	check_ok(profile_add(p, stack, 2, labels, 2, v, &err));
	check_ok(profile_add(p, stack, 2, NULL, 0, w, &err));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(profile_freep) struct profile *q = NULL;
		struct transform_options o = { .by = cases[i].by };

		check_ok(transform_apply(p, &o, &q, &err));
		expect_folded(q, -1, cases[i].expected);
	}
}

static void the_deepest_stack_can_be_grouped(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile(), *q = NULL;
	cleanup_free uint32_t *deep = calloc(PROFILE_MAX_FRAMES, sizeof(*deep));
	struct transform_options o = { .by = "module" };

	deep[0] = check_named(p, "f");
	check_add(p, deep, PROFILE_MAX_FRAMES, 1, 1);
	check_ok(transform_apply(p, &o, &q, &err));
	assert_int_equal(profile_sample_at(q, 0).n_frames, PROFILE_MAX_FRAMES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merge_adds_what_is_equal),
		cmocka_unit_test(merge_matches_types_by_name),
		cmocka_unit_test(diff_is_after_minus_before),
		cmocka_unit_test(diff_does_not_look_at_addresses),
		cmocka_unit_test(other_offsets_and_contexts_stay_apart),
		cmocka_unit_test(diff_refuses_what_does_not_compare),
		cmocka_unit_test(focus_and_ignore_select),
		cmocka_unit_test(reverse_and_no_inline),
		cmocka_unit_test(by_makes_a_root_frame),
		cmocka_unit_test(the_deepest_stack_can_be_grouped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
