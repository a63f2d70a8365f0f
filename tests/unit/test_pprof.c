/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <math.h>
#include <time.h>
#include <zlib.h>

#include "profile/gzip.h"
#include "profile/pprof.h"
#include "profile/pprof_format.h"
#include "profile/proto.h"
#include "profile_check.h"

static struct profile *round_trip(const struct profile *p)
{
	cleanup_free char *data = NULL;
	struct profile *back;
	size_t len;

	check_written(&data, &len, pprof_write(p, to, &err));
	assert_true(gzip_is(data, len));
	check_ok(pprof_read(data, len, &back, &err));
	return back;
}

/* inlined_leaf is inlined into middle, which main calls. */
static struct profile *rich_profile(void)
{
	struct profile *p = check_heap_profile();
	uint32_t exe = check_text(p, "/usr/bin/server"), lib = check_text(p, "/usr/lib/libx.so.1");
	struct profile_frame leaf = { .name = check_text(p, "inlined_leaf"),
		                      .module = exe,
		                      .offset = 0x1234,
		                      .file = check_text(p, "leaf.h"),
		                      .line = 17,
		                      .inlined = true };
	struct profile_frame middle = { .name = check_text(p, "middle"),
		                        .module = exe,
		                        .offset = 0x1234,
		                        .file = check_text(p, "main.c"),
		                        .line = 4000000000 };
	struct profile_label labels[] = {
		{ .key = check_text(p, "context"), .text = check_text(p, "Top/Cache") },
		{ .key = check_text(p, "pid"), .number = 4711 },
		{ .key = check_text(p, "age"), .number = -5, .unit = check_text(p, "seconds") },
	};
	int64_t v[] = { 3, 300, 2, 200 }, v2[] = { 0, INT64_MIN, INT64_MAX, -1 };
	uint32_t stack[6];

	check_ok(profile_module_set(p, exe, check_text(p, "00ff77"), &err));
	check_ok(profile_module_set(p, lib, 0, &err));
	check_ok(profile_frame(p, &leaf, &stack[0], &err));
	check_ok(profile_frame(p, &middle, &stack[1], &err));
	stack[2] = check_code(p, "", "/usr/lib/libx.so.1", 0x1fff);
	stack[3] = check_code(p, "main", "/usr/bin/server", 0x99);
	stack[4] = check_code(p, "far", "/usr/bin/server", UINT64_MAX);
	stack[5] = check_named(p, "[before attach]");
	check_ok(profile_add(p, stack, 6, labels, 3, v, &err));
	check_ok(profile_add(p, stack + 1, 3, labels, 1, v2, &err));
	check_ok(profile_add(p, stack + 5, 1, NULL, 0, v, &err));
	check_ok(profile_add(p, NULL, 0, NULL, 0, v, &err));
	profile_set_time(p, 1700000000123456789, 13000000000);
	return p;
}

static void everything_comes_back(void **state)
{
	cleanup(profile_freep) struct profile *p = rich_profile(), *back = round_trip(p);

	check_same(p, back);
}

static void plain_and_split_gzip_are_read(void **state)
{
	cleanup(profile_freep) struct profile *p = rich_profile(), *a = NULL, *b = NULL;
	cleanup_free char *data = NULL, *members = NULL;
	cleanup_free uint8_t *plain = NULL;
	size_t len, n, n_members;

	check_written(&data, &len, pprof_write(p, to, &err));
	check_ok(gzip_read(data, len, 1 << 20, &plain, &n, &err));
	check_ok(pprof_read(plain, n, &a, &err));
	check_same(p, a);
	/* two gzip members, one behind the other */
	{
		FILE *to = open_memstream(&members, &n_members);

		check_ok(gzip_write(plain, 50, to, &err));
		check_ok(gzip_write(plain + 50, n - 50, to, &err));
		fclose(to);
	}
	check_ok(pprof_read(members, n_members, &b, &err));
	check_same(p, b);
}

static void the_default_type_comes_back(void **state)
{
	struct profile_type types[] = { { "a", "bytes" }, { "b", "count" }, { "c", "" } };
	int64_t v[] = { 1, 2, 3 };

	for (size_t i = 0; i < 3; i++) {
		cleanup(profile_freep) struct profile *p = NULL, *back = NULL;

		check_ok(profile_new(&p, types, 3, i, &err));
		check_ok(profile_add(p, NULL, 0, NULL, 0, v, &err));
		back = round_trip(p);
		check_same(p, back);
	}
}

static void fill_report(struct report *r)
{
	static const char *const columns[] = { "context", "used_bytes", "share" };
	struct report_table *t;

	check_ok(report_text(r, "engine", "Engine", "bpf", &err));
	check_ok(report_text(r, "version", NULL, "15", &err));
	check_ok(
		report_text(r, "hostile=\n", "x\ny", "a=b\\\nmemwho: engine=fake \x01\\x41", &err));
	check_ok(report_text(r, "empty", "Empty", "", &err));
	check_ok(report_int(r, "lost_events", "Lost", -3, "", &err));
	check_ok(report_int(r, "held_bytes", "Held", INT64_MAX, "bytes", &err));
	check_ok(report_double(r, "slowdown", "Slowdown", 1.0 / 3, "x", &err));
	check_ok(report_double(r, "whole", NULL, 5, "s", &err));
	check_ok(report_double(r, "endless", NULL, INFINITY, "s", &err));
	check_ok(report_table(r, "contexts", columns, 3, &t, &err));
	/* some thousand rows: more than one comment */
	for (int i = 0; i < 20000; i++) {
		struct report_figure row[] = { report_cell_text("Top/\"<x>"),
			                       report_cell_int(i),
			                       { .kind = REPORT_DOUBLE, .real = i } };

		check_ok(report_row(t, row, &err));
	}
	check_ok(report_table(r, "none", columns, 1, &t, &err));
}

static void check_same_reports(const struct report *a, const struct report *b)
{
	assert_int_equal(a->n_figures, b->n_figures);
	for (size_t i = 0; i < a->n_figures; i++) {
		const struct report_figure *x = &a->figures[i], *y = &b->figures[i];

		assert_string_equal(x->key, y->key);
		assert_string_equal(x->title ? x->title : "(none)", y->title ? y->title : "(none)");
		assert_int_equal(x->kind, y->kind);
		assert_true(x->integer == y->integer);
		assert_true(x->real == y->real);
		assert_string_equal(x->text ? x->text : "(none)", y->text ? y->text : "(none)");
		assert_string_equal(x->unit, y->unit);
	}
	assert_int_equal(a->n_tables, b->n_tables);
	for (size_t i = 0; i < a->n_tables; i++) {
		const struct report_table *x = &a->tables[i], *y = &b->tables[i];

		assert_string_equal(x->key, y->key);
		assert_int_equal(x->n_columns, y->n_columns);
		assert_int_equal(x->n_rows, y->n_rows);
		for (size_t k = 0; k < x->n_rows * x->n_columns; k++) {
			assert_int_equal(x->cells[k].kind, y->cells[k].kind);
			assert_true(x->cells[k].integer == y->cells[k].integer);
			assert_true(x->cells[k].real == y->cells[k].real);
		}
	}
	assert_string_equal(a->tables[0].cells[3].text, b->tables[0].cells[3].text);
}

static void the_report_comes_back(void **state)
{
	cleanup(profile_freep) struct profile *p = rich_profile(), *back = NULL;

	fill_report(profile_report(p));
	back = round_trip(p);
	check_same_reports(profile_report(p), profile_report(back));
}

static void hostile_names_are_cleaned(void **state)
{
	cleanup(profile_freep) struct profile *p = check_heap_profile(), *back = NULL;
	cleanup_free char *name = malloc((1 << 20) + 1);
	struct profile_sample s;
	uint32_t stack[3];

	memset(name, 0xff, 1 << 20);
	name[1 << 20] = '\0';
	stack[0] = check_named(p, name);
	stack[1] = check_named(p, "<script>;\n\"'\xc3(");
	stack[2] = check_code(p,
	                      "a\x80"
	                      "b",
	                      "/tmp/\xff\n;", 5);
	check_add(p, stack, 3, 1, 10);
	back = round_trip(p);
	s = profile_sample_at(back, 0);
	assert_int_equal(strlen(profile_text(back, profile_frame_at(back, s.frames[0])->name)),
	                 3 << 20);
	assert_string_equal(profile_text(back, profile_frame_at(back, s.frames[1])->name),
	                    "<script>;\n\"'\xef\xbf\xbd(");
	assert_string_equal(profile_text(back, profile_frame_at(back, s.frames[2])->name),
	                    "a\xef\xbf\xbd"
	                    "b");
	assert_string_equal(profile_text(back, profile_frame_at(back, s.frames[2])->module),
	                    "/tmp/\xef\xbf\xbd\n;");
	assert_int_equal(profile_total(back, PROFILE_INUSE_SPACE), 10);
}

/* A file by hand: what another writer may do and we don't. */
struct file {
	struct proto out, m, inner;
};

static void file_clear(struct file *f)
{
	proto_clear(&f->out);
	proto_clear(&f->m);
	proto_clear(&f->inner);
}

static void file_string(struct file *f, const char *s, size_t len)
{
	proto_bytes(&f->out, PPROF_STRING, s, len);
}

static void file_type(struct file *f, uint64_t name)
{
	proto_number(&f->m, TYPE_NAME, name);
	proto_message(&f->out, PPROF_SAMPLE_TYPE, &f->m);
}

static int file_read(struct file *f, struct profile **ret, struct error *err)
{
	/* exactly as many bytes as there are, for the sanitizer */
	cleanup_free uint8_t *copy = malloc(f->out.n + !f->out.n);

	if (f->out.n)
		memcpy(copy, f->out.bytes, f->out.n);
	return pprof_read(copy, f->out.n, ret, err);
}

static void foreign_habits_are_understood(void **state)
{
	cleanup(file_clear) struct file f = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;
	struct profile_sample s;
	char buf[64];

	/* samples first, unpacked numbers, no default type, unknown fields */
	proto_number(&f.m, SAMPLE_LOCATION, 77);
	proto_number(&f.m, SAMPLE_LOCATION, 1ull << 63);
	proto_number(&f.m, SAMPLE_VALUE, 5);
	proto_number(&f.m, 999, 5);
	proto_message(&f.out, PPROF_SAMPLE, &f.m);
	proto_number(&f.m, LOCATION_ID, 77);
	proto_number(&f.m, LOCATION_MAPPING, 9);
	proto_number(&f.m, LOCATION_ADDRESS, 0x401234);
	proto_message(&f.out, PPROF_LOCATION, &f.m);
	proto_number(&f.m, LOCATION_ID, 1ull << 63);
	proto_number(&f.m, LOCATION_ADDRESS, 0xabc);
	proto_message(&f.out, PPROF_LOCATION, &f.m);
	proto_number(&f.m, MAPPING_ID, 9);
	proto_number(&f.m, MAPPING_START, 0x401000);
	proto_number(&f.m, MAPPING_FILE_OFFSET, 0x1000);
	proto_number(&f.m, MAPPING_FILE, 2);
	proto_message(&f.out, PPROF_MAPPING, &f.m);
	proto_bytes(&f.out, 500, "xyz", 3);
	file_type(&f, 1);
	file_string(&f, "", 0);
	file_string(&f, "in\0use", 6);
	file_string(&f, "/bin/x", 6);
	check_ok(file_read(&f, &p, &err));
	assert_string_equal(profile_type_at(p, 0)->name, "in\xef\xbf\xbduse");
	s = profile_sample_at(p, 0);
	assert_int_equal(s.n_frames, 2);
	assert_string_equal(profile_frame_text(p, s.frames[0], buf, sizeof(buf)), "x+0x1234");
	assert_string_equal(profile_frame_text(p, s.frames[1], buf, sizeof(buf)), "0xabc");
}

static void expect_bad(struct file *f, const char *what)
{
	struct profile *p = NULL;
	struct error err = { 0 };

	assert_int_equal(file_read(f, &p, &err), -EBADMSG);
	if (!strstr(err.message, what))
		fail_msg("'%s' does not say '%s'", err.message, what);
	assert_null(p);
}

static void bad_files_say_what_is_wrong(void **state)
{
	cleanup(file_clear) struct file f = { 0 };

	expect_bad(&f, "no value types");
	file_type(&f, 1);
	expect_bad(&f, "missing string");
	file_string(&f, "", 0);
	file_string(&f, "inuse", 5);
	proto_number(&f.m, SAMPLE_LOCATION, 1);
	proto_number(&f.m, SAMPLE_VALUE, 1);
	proto_message(&f.out, PPROF_SAMPLE, &f.m);
	expect_bad(&f, "missing location");
	proto_number(&f.m, LOCATION_ID, 1);
	proto_number(&f.inner, LINE_FUNCTION, 3);
	proto_message(&f.m, LOCATION_LINE, &f.inner);
	proto_message(&f.out, PPROF_LOCATION, &f.m);
	expect_bad(&f, "missing function");
	proto_number(&f.m, FUNCTION_ID, 3);
	proto_message(&f.out, PPROF_FUNCTION, &f.m);
	proto_number(&f.m, SAMPLE_VALUE, 1);
	proto_number(&f.m, SAMPLE_VALUE, 1);
	proto_message(&f.out, PPROF_SAMPLE, &f.m);
	expect_bad(&f, "more values");
}

static void a_deep_stack_is_refused(void **state)
{
	cleanup(file_clear) struct file f = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;

	file_type(&f, 0);
	file_string(&f, "", 0);
	proto_number(&f.m, LOCATION_ID, 1);
	proto_message(&f.out, PPROF_LOCATION, &f.m);
	for (int i = 0; i < PROFILE_MAX_FRAMES; i++)
		proto_varint(&f.inner, 1);
	proto_message(&f.m, SAMPLE_LOCATION, &f.inner);
	proto_varint(&f.inner, 1);
	proto_message(&f.m, SAMPLE_VALUE, &f.inner);
	proto_message(&f.out, PPROF_SAMPLE, &f.m);
	check_ok(file_read(&f, &p, &err));
	for (int i = 0; i < PROFILE_MAX_FRAMES + 1; i++)
		proto_varint(&f.inner, 1);
	proto_message(&f.m, SAMPLE_LOCATION, &f.inner);
	proto_message(&f.out, PPROF_SAMPLE, &f.m);
	expect_bad(&f, "4096 frames");
}

static void cut_files_are_refused(void **state)
{
	cleanup(profile_freep) struct profile *p = rich_profile();
	cleanup_free char *data = NULL;
	size_t len;

	check_written(&data, &len, pprof_write(p, to, &err));
	for (size_t i = 0; i < len; i++) {
		cleanup_free char *cut = malloc(i + !i);
		struct profile *back = NULL;
		struct error err = { 0 };

		memcpy(cut, data, i);
		assert_int_equal(pprof_read(cut, i, &back, &err), -EBADMSG);
		assert_true(err.message[0]);
		assert_null(back);
	}
}

static void a_gzip_bomb_is_refused(void **state)
{
	cleanup_free char *data = NULL;
	cleanup_free uint8_t *zeros = calloc(1, 300 << 20);
	struct profile *p = NULL;
	struct error err;
	size_t len;
	FILE *to = open_memstream(&data, &len);

	assert_int_equal(gzip_write(zeros, 300 << 20, to, &err), 0);
	fclose(to);
	assert_int_equal(pprof_read(data, len, &p, &err), -EFBIG);
}

static void a_full_disk_is_an_error(void **state)
{
	cleanup(profile_freep) struct profile *p = rich_profile();
	cleanup_fclose FILE *full = fopen("/dev/full", "we");
	struct error err;

	setvbuf(full, NULL, _IONBF, 0);
	assert_int_equal(pprof_write(p, full, &err), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_back),
		cmocka_unit_test(plain_and_split_gzip_are_read),
		cmocka_unit_test(the_default_type_comes_back),
		cmocka_unit_test(the_report_comes_back),
		cmocka_unit_test(hostile_names_are_cleaned),
		cmocka_unit_test(foreign_habits_are_understood),
		cmocka_unit_test(bad_files_say_what_is_wrong),
		cmocka_unit_test(a_deep_stack_is_refused),
		cmocka_unit_test(cut_files_are_refused),
		cmocka_unit_test(a_gzip_bomb_is_refused),
		cmocka_unit_test(a_full_disk_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
