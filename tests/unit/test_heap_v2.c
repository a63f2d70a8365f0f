/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <math.h>

#include "profile/heap_v2.h"
#include "profile_check.h"

/* As jemalloc 5.3 dumps it. */
static const char dump[] =
	"heap_v2/524288\n"
	"  t*: 3: 1049600 [10: 2000000]\n"
	"  t0: 3: 1049600 [0: 0]\n"
	"@ 0x7f0000001100 0x401234 0x7f0000021001 0x10\n"
	"  t*: 2: 1048576 [4: 2097152]\n"
	"  t0: 2: 1048576 [0: 0]\n"
	"@ 0x401234\n"
	"  t*: 1: 1024 [0: 0]\n"
	"  t1: 1: 1024 [0: 0]\n"
	"\n"
	"MAPPED_LIBRARIES:\n"
	"00400000-00401000 r--p 00000000 08:01 77                         /usr/bin/my server\n"
	"00401000-00402000 r-xp 00001000 08:01 77                         /usr/bin/my server\n"
	"7f0000000000-7f0000001000 r--p 00000000 08:01 78                 /lib/libx.so.1 "
	"(deleted)\n"
	"7f0000001000-7f0000030000 r-xp 00001000 08:01 78                 /lib/libx.so.1 "
	"(deleted)\n"
	"7f0000100000-7f0000200000 rw-p 00000000 00:00 0 \n";

static void check_frame(const struct profile *p, uint32_t id, const char *module, uint64_t offset)
{
	const struct profile_frame *f = profile_frame_at(p, id);

	assert_string_equal(profile_text(p, f->module), module);
	assert_true(f->offset == offset);
}

static void a_dump_is_unbiased_and_placed(void **state)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct profile_sample s;
	char buf[32];

	check_ok(heap_v2_read(dump, strlen(dump), &p, &err));
	assert_int_equal(profile_n_samples(p), 2);
	assert_int_equal(report_get(profile_report(p), "sample_interval_bytes")->integer, 524288);
	s = profile_sample_at(p, 0);
	assert_int_equal(s.n_frames, 4);
	/* the first address as it is, the others less 1; a fixed program by address */
	check_frame(p, s.frames[0], "/lib/libx.so.1", 0x1100);
	check_frame(p, s.frames[1], "/usr/bin/my server", 0x401233);
	check_frame(p, s.frames[2], "/lib/libx.so.1", 0x21000);
	assert_string_equal(profile_frame_text(p, s.frames[3], buf, sizeof(buf)), "0xf");
	/* 524288 bytes each: 1 / (1 - exp(-1)) = 1.58197671 */
	assert_int_equal(s.values[PROFILE_INUSE_OBJECTS], 3);
	assert_int_equal(s.values[PROFILE_INUSE_SPACE], 1658823);
	assert_int_equal(s.values[PROFILE_ALLOC_OBJECTS], 6);
	assert_int_equal(s.values[PROFILE_ALLOC_SPACE], 3317646);
	s = profile_sample_at(p, 1);
	check_frame(p, s.frames[0], "/usr/bin/my server", 0x401234);
	/* 1024 bytes: 1 / (1 - exp(-1/512)) = 512.50016 */
	assert_int_equal(s.values[PROFILE_INUSE_OBJECTS], 513);
	assert_int_equal(s.values[PROFILE_INUSE_SPACE], 524800);
	assert_int_equal(s.values[PROFILE_ALLOC_SPACE], 0);
}

static void what_is_written_comes_back(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile(), *back = NULL;
	uint32_t stack[] = { check_code(p, "leaf", "/bin/my prog", 0x1136),
		             check_code(p, "", "/lib/libx.so.1", 0),
		             check_code(p, "leaf", "/bin/my prog", 0x1136),
		             check_code(p, "main", "/bin/my prog", 0x401200),
		             check_named(p, "[before attach]") };
	int64_t v[] = { 5, 5000, 1, 16 };
	cleanup_free char *text = NULL;
	size_t len;

	check_ok(profile_add(p, stack, 5, NULL, 0, v, &err));
	check_add(p, stack + 1, 2, 1, INT64_MAX);
	check_add(p, stack + 4, 1, 1, 3);
	check_add(p, NULL, 0, 1, 4);
	check_written(&text, &len, heap_v2_write(p, to, &err));
	assert_memory_equal(text, "heap_v2/0\n  t*: ", 16);
	check_ok(heap_v2_read(text, len, &back, &err));
	assert_int_equal(profile_n_samples(back), 4);
	for (size_t i = 0; i < 4; i++) {
		struct profile_sample a = profile_sample_at(p, i), b = profile_sample_at(back, i);

		assert_int_equal(a.n_frames, b.n_frames);
		assert_memory_equal(a.values, b.values, sizeof(v));
		for (size_t k = 0; k < a.n_frames; k++)
			check_same_frame(p, a.frames[k], back, b.frames[k]);
	}
}

static void inlined_frames_and_hostile_names(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile(), *back = NULL;
	struct profile_frame in = { .name = check_text(p, "inlined"),
		                    .module = check_text(p, "/bin/\n\xffx"),
		                    .offset = 0x10,
		                    .inlined = true };
	uint32_t stack[] = { 0, check_code(p, "a\nMAPPED_LIBRARIES:\n@ 0x1", "/bin/\n\xffx", 0x10),
		             check_code(p, "far", "/bin/\n\xffx", UINT64_MAX) };
	cleanup_free char *text = NULL;
	struct profile_sample s;
	char buf[64];
	size_t len;

	check_ok(profile_frame(p, &in, &stack[0], &err));
	check_add(p, stack, 3, 1, 10);
	check_written(&text, &len, heap_v2_write(p, to, &err));
	check_ok(heap_v2_read(text, len, &back, &err));
	s = profile_sample_at(back, 0);
	assert_int_equal(s.n_frames, 2);
	assert_string_equal(profile_frame_text(back, s.frames[0], buf, sizeof(buf)),
	                    "a MAPPED_LIBRARIES: @ 0x1");
	assert_string_equal(profile_frame_text(back, s.frames[1], buf, sizeof(buf)), "far");
	assert_int_equal(profile_total(back, PROFILE_INUSE_SPACE), 10);
}

static void what_does_not_fit_is_refused(void **state)
{
	struct profile_type delta = { "delta", "bytes" };
	cleanup(profile_freep) struct profile *p = NULL, *q = check_heap_profile();
	int64_t v[] = { 0, 0, 0, -1 };
	cleanup_fclose FILE *to = fopen("/dev/null", "we");
	struct error e;

	check_ok(profile_new(&p, &delta, 1, 0, &err));
	assert_int_equal(heap_v2_write(p, to, &e), -EINVAL);
	check_ok(profile_add(q, NULL, 0, NULL, 0, v, &err));
	assert_int_equal(heap_v2_write(q, to, &e), -EINVAL);
}

static void bad_dumps_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"heap_v2",
		"heap_v2/x\n",
		"heap_v2/-1\n",
		"heap_v2/1\n@ 0xzz\n",
		"heap_v2/1\n@ 0x1\n t*: 1: 2\n",
		"heap_v2/1\n@ 0x1\n t*: -1: 2 [0: 0]\n",
		"heap_v2/1\n@ 0x11112222333344445\n",
	};
	struct profile *p = NULL;
	struct error err;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(heap_v2_read(texts[i], strlen(texts[i]), &p, &err), -EBADMSG);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dump_is_unbiased_and_placed),
		cmocka_unit_test(what_is_written_comes_back),
		cmocka_unit_test(inlined_frames_and_hostile_names),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(bad_dumps_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
