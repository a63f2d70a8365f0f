/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "profile/profile.h"

static struct profile *heap_profile(void)
{
	struct profile *p;
	struct error err;

	assert_int_equal(
		profile_new(&p, profile_heap_types, PROFILE_HEAP_TYPES, PROFILE_INUSE_SPACE, &err),
		0);
	return p;
}

static uint32_t named(struct profile *p, const char *name)
{
	struct error err;
	uint32_t id;

	assert_int_equal(profile_frame_named(p, name, &id, &err), 0);
	return id;
}

static uint32_t text(struct profile *p, const char *s)
{
	struct error err;
	uint32_t id;

	assert_int_equal(profile_string(p, s, strlen(s), &id, &err), 0);
	return id;
}

static void types_are_checked(void **state)
{
	struct profile_type many[PROFILE_MAX_TYPES + 1] = { 0 };
	struct profile *p = NULL;
	struct error err;

	assert_int_equal(profile_new(&p, many, 0, 0, &err), -EINVAL);
	assert_int_equal(profile_new(&p, many, PROFILE_MAX_TYPES + 1, 0, &err), -EINVAL);
	assert_int_equal(profile_new(&p, many, 2, 2, &err), -EINVAL);
	assert_null(p);
	p = heap_profile();
	assert_int_equal(profile_n_types(p), 4);
	assert_int_equal(profile_find_type(p, "alloc_space"), PROFILE_ALLOC_SPACE);
	assert_int_equal(profile_find_type(p, "nothing"), -1);
	assert_int_equal(profile_default_type(p), PROFILE_INUSE_SPACE);
	assert_int_equal(profile_set_default_type(p, 4), -ERANGE);
	assert_int_equal(profile_default_type(p), PROFILE_INUSE_SPACE);
	assert_null(profile_type_at(p, 4));
	profile_free(p);
}

static void strings_have_one_id(void **state)
{
	cleanup(profile_freep) struct profile *p = heap_profile();
	struct error err;
	uint32_t a, b, zero;
	const char *kept;

	assert_int_equal(profile_string(p, "", 0, &zero, &err), 0);
	assert_int_equal(zero, 0);
	a = text(p, "malloc");
	kept = profile_text(p, a);
	assert_int_equal(text(p, "malloc"), a);
	assert_int_not_equal(text(p, "mallo"), a);
	/* cut at the NUL, and at the length */
	assert_int_equal(profile_string(p, "malloc\0hidden", 13, &b, &err), 0);
	assert_int_equal(b, a);
	assert_int_equal(profile_string(p, "mallocator", 6, &b, &err), 0);
	assert_int_equal(b, a);
	for (int i = 0; i < 100000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "function_%d", i);
		text(p, name);
	}
	/* texts never move */
	assert_ptr_equal(profile_text(p, a), kept);
	assert_string_equal(profile_text(p, text(p, "function_77777")), "function_77777");
	assert_string_equal(profile_text(p, UINT32_MAX), "");
}

static void a_long_name_is_kept_whole(void **state)
{
	cleanup(profile_freep) struct profile *p = heap_profile();
	cleanup_free char *name = malloc(1 << 20);
	char buf[64];
	uint32_t small = text(p, "before"), id;
	struct error err;

	memset(name, 'x', 1 << 20);
	assert_int_equal(profile_string(p, name, 1 << 20, &id, &err), 0);
	assert_int_equal(strlen(profile_text(p, id)), 1 << 20);
	assert_string_equal(profile_text(p, small), "before");
	assert_string_equal(profile_text(p, text(p, "after")), "after");
	assert_int_equal(profile_frame(p, &(struct profile_frame){ .name = id }, &id, &err), 0);
	assert_int_equal(strlen(profile_frame_text(p, id, buf, sizeof(buf))), 63);
}

static void frames_have_a_text(void **state)
{
	cleanup(profile_freep) struct profile *p = heap_profile();
	struct profile_frame f = { .module = text(p, "/usr/lib/libx.so.1"), .offset = 0x1fff };
	struct error err;
	uint32_t bare, full, again;
	char buf[64];

	assert_int_equal(profile_frame(p, &f, &bare, &err), 0);
	assert_string_equal(profile_frame_text(p, bare, buf, sizeof(buf)), "libx.so.1+0x1fff");
	f.name = text(p, "site_01");
	assert_int_equal(profile_frame(p, &f, &full, &err), 0);
	assert_int_not_equal(full, bare);
	assert_string_equal(profile_frame_text(p, full, buf, sizeof(buf)), "site_01");
	assert_int_equal(profile_frame(p, &f, &again, &err), 0);
	assert_int_equal(again, full);
	f.inlined = true;
	assert_int_equal(profile_frame(p, &f, &again, &err), 0);
	assert_int_not_equal(again, full);
	assert_string_equal(profile_frame_text(p, 999, buf, sizeof(buf)), "[unknown]");
	f.name = 12345;
	assert_int_equal(profile_frame(p, &f, &again, &err), -EINVAL);
	assert_int_equal(profile_n_frames(p), 3);
}

static void equal_samples_are_one(void **state)
{
	cleanup(profile_freep) struct profile *p = heap_profile();
	uint32_t ab[] = { named(p, "a"), named(p, "b") }, ba[] = { ab[1], ab[0] };
	struct profile_label one[] = { { .key = text(p, "pid"), .number = 7 },
		                       { .key = text(p, "context"), .text = text(p, "Top") } };
	struct profile_label other[] = { one[1], one[0] };
	int64_t v[4] = { 1, 10, 1, 10 };
	struct profile_sample s;
	struct error err;
	char buf[32];

	assert_int_equal(profile_add(p, ab, 2, one, 2, v, &err), 0);
	assert_int_equal(profile_add(p, ab, 2, other, 2, v, &err), 0);
	assert_int_equal(profile_n_samples(p), 1);
	assert_int_equal(profile_add(p, ab, 2, one, 1, v, &err), 0);
	assert_int_equal(profile_add(p, ba, 2, one, 2, v, &err), 0);
	assert_int_equal(profile_add(p, ab, 1, NULL, 0, v, &err), 0);
	assert_int_equal(profile_add(p, NULL, 0, NULL, 0, v, &err), 0);
	assert_int_equal(profile_n_samples(p), 5);
	s = profile_sample_at(p, 0);
	assert_int_equal(s.n_frames, 2);
	assert_int_equal(s.frames[0], ab[0]);
	assert_int_equal(s.values[PROFILE_INUSE_SPACE], 20);
	/* sorted by the key's text, whatever the order of their ids */
	assert_string_equal(profile_text(p, s.labels[0].key), "context");
	assert_string_equal(profile_label_text(p, &s, "pid", buf, sizeof(buf)), "7");
	assert_string_equal(profile_label_text(p, &s, "context", buf, sizeof(buf)), "Top");
	assert_null(profile_label_text(p, &s, "class", buf, sizeof(buf)));
	assert_int_equal(profile_total(p, PROFILE_INUSE_SPACE), 60);
	assert_int_equal(profile_total(p, PROFILE_INUSE_OBJECTS), 6);
}

static void bad_samples_are_refused(void **state)
{
	cleanup(profile_freep) struct profile *p = heap_profile();
	cleanup_free uint32_t *deep = calloc(PROFILE_MAX_FRAMES + 1, sizeof(*deep));
	struct profile_label labels[PROFILE_MAX_LABELS + 1] = { 0 };
	uint32_t missing = 5;
	int64_t v[4] = { 1, 1, 1, 1 };
	struct error err;

	deep[0] = named(p, "recursive");
	assert_int_equal(profile_add(p, deep, PROFILE_MAX_FRAMES, NULL, 0, v, &err), 0);
	assert_int_equal(profile_add(p, deep, PROFILE_MAX_FRAMES + 1, NULL, 0, v, &err), -E2BIG);
	assert_int_equal(profile_add(p, deep, 1, labels, PROFILE_MAX_LABELS + 1, v, &err), -E2BIG);
	assert_int_equal(profile_add(p, &missing, 1, NULL, 0, v, &err), -EINVAL);
	labels[0].key = 999;
	assert_int_equal(profile_add(p, deep, 1, labels, 1, v, &err), -EINVAL);
	assert_int_equal(profile_n_samples(p), 1);
}

static void sums_do_not_wrap(void **state)
{
	cleanup(profile_freep) struct profile *p = heap_profile();
	uint32_t a = named(p, "a"), b = named(p, "b");
	int64_t v[4] = { INT64_MAX, INT64_MIN, 1, INT64_MAX };
	struct error err;

	assert_int_equal(profile_add(p, &a, 1, NULL, 0, v, &err), 0);
	assert_int_equal(profile_add(p, &a, 1, NULL, 0, v, &err), 0);
	assert_int_equal(profile_add(p, &b, 1, NULL, 0, v, &err), 0);
	assert_true(profile_sample_at(p, 0).values[0] == INT64_MAX);
	assert_true(profile_sample_at(p, 0).values[1] == INT64_MIN);
	assert_true(profile_total(p, 3) == INT64_MAX);
}

static void modules_are_kept(void **state)
{
	cleanup(profile_freep) struct profile *p = heap_profile();
	uint32_t path = text(p, "/bin/x"), id = text(p, "abcd"), id2 = text(p, "ef01");
	struct error err;

	assert_int_equal(profile_module_set(p, path, id, &err), 0);
	assert_int_equal(profile_module_set(p, text(p, "/bin/y"), 0, &err), 0);
	assert_int_equal(profile_module_set(p, path, id2, &err), 0);
	assert_int_equal(profile_n_modules(p), 2);
	assert_int_equal(profile_module_at(p, 0)->build_id, id2);
	assert_null(profile_module_at(p, 2));
	profile_set_time(p, 5, 6);
	assert_int_equal(profile_start_unix_ns(p), 5);
	assert_int_equal(profile_duration_ns(p), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_are_checked),
		cmocka_unit_test(strings_have_one_id),
		cmocka_unit_test(a_long_name_is_kept_whole),
		cmocka_unit_test(frames_have_a_text),
		cmocka_unit_test(equal_samples_are_one),
		cmocka_unit_test(bad_samples_are_refused),
		cmocka_unit_test(sums_do_not_wrap),
		cmocka_unit_test(modules_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
