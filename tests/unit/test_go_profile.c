/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "goimage.h"
#include "runtime/go/go_allocs.h"
#include "runtime/go/go_profile.h"

static struct error err;
static uint8_t bytes[GOIMAGE_BYTES];
static struct go_layout layout;
static struct go_module module;

static struct image *open_picture(struct go_pclntab *t)
{
	struct image *i = NULL;

	assert_int_equal(goimage_open(bytes, sizeof(bytes), &i, &err), 0);
	goimage_read_module(i, &layout, &module);
	go_pclntab_open(&module, t);
	return i;
}

static void make(void)
{
	assert_int_equal(go_layout_of("go1.26.8", &layout), 1);
	goimage_make(bytes, &layout);
}

static void test_functions(void **state)
{
	cleanup(image_closep) struct image *i = NULL;
	const uint64_t text = GOIMAGE_BASE + GOIMAGE_TEXT;
	struct go_code_function f;
	struct go_pclntab t;
	char name[64], file[64], small[8];

	make();
	i = open_picture(&t);
	assert_true(go_code_function(t.module, text + 0x110, &f));
	assert_int_equal(f.entry, text + 0x100);
	assert_int_equal(f.end, text + 0x200);
	assert_false(go_pclntab_name(&t, &f, text + 0x110, name, sizeof(name)));
	assert_string_equal(name, "main.f[...]");
	assert_int_equal(go_pclntab_line(&t, &f, text + 0x110, file, sizeof(file)), 10);
	assert_string_equal(file, "/src/main.go");
	assert_true(go_pclntab_name(&t, &f, text + 0x190, name, sizeof(name)));
	assert_string_equal(name, "main.inlined");
	assert_int_equal(go_pclntab_line(&t, &f, text + 0x190, file, sizeof(file)), 20);
	go_pclntab_name(&t, &f, text + 0x190, small, sizeof(small));
	assert_string_equal(small, "main.in");
	assert_true(go_code_find(t.module, "runtime.profilealloc", &f));
	assert_int_equal(f.entry, text);
	assert_false(go_code_find(t.module, "main.f", &f));
	assert_false(go_code_function(t.module, text + 0x200, &f));
	assert_false(go_code_function(t.module, text - 1, &f));
}

static void test_buckets(void **state)
{
	cleanup(go_profile_clear) struct go_profile p = { 0 };
	cleanup(image_closep) struct image *i = NULL;
	struct go_pclntab t;
	const uint64_t *pcs;

	make();
	i = open_picture(&t);
	assert_int_equal(go_profile_read(&t, &p, &err), 0);
	assert_int_equal(p.n, 2);
	assert_false(p.is_torn);
	assert_int_equal(p.items[0].size, 64);
	assert_int_equal(p.items[0].allocs, 7);
	assert_int_equal(p.items[1].free_bytes, 3 * 4096);
	assert_int_equal(go_allocs_stack(&t, &p, &p.items[1], &pcs), 2);
	assert_int_equal(pcs[0], GOIMAGE_BASE + GOIMAGE_TEXT + 0x190);
	/* no code to find the rate in: not known, not guessed */
	assert_false(p.has_rate);
}

/* Nothing is published yet: what waits is taken. */
static void test_waiting(void **state)
{
	cleanup(go_profile_clear) struct go_profile p = { 0 };
	cleanup(image_closep) struct image *i = NULL;
	struct go_pclntab t;

	make();
	for (unsigned k = 0; k < 2; k++) {
		uint8_t *record = bytes + GOIMAGE_BUCKETS + 0x200 * k + 64;

		memcpy(record + 96, record, 32);
		memset(record, 0, 32);
	}
	i = open_picture(&t);
	assert_int_equal(go_profile_read(&t, &p, &err), 0);
	assert_int_equal(p.items[1].alloc_bytes, 7 * 4096);
}

/* A list that bites its tail is read once, and said to be none. */
static void test_circle(void **state)
{
	cleanup(go_profile_clear) struct go_profile p = { 0 }, one = { 0 };
	cleanup(image_closep) struct image *i = NULL;
	struct go_pclntab t;

	make();
	goimage_word(bytes, GOIMAGE_BUCKETS + 0x208, GOIMAGE_BASE + GOIMAGE_BUCKETS);
	i = open_picture(&t);
	assert_int_equal(go_profile_read(&t, &p, &err), 0);
	assert_int_equal(p.n, 0);
	assert_true(go_profile_read_bucket(&t, GOIMAGE_BASE + GOIMAGE_BUCKETS, &one, &err));
	assert_false(go_profile_read_bucket(&t, GOIMAGE_BASE + GOIMAGE_BUCKETS + 8, &one, &err));
}

static void test_scale(void **state)
{
	/* 1/(1-exp(-size/rate)), as runtime/pprof has it */
	assert_true(fabs(go_profile_scale(512 << 10, 512 << 10) - 1.5819767068693265) < 1e-12);
	assert_true(fabs(go_profile_scale(16, 512 << 10) - 32768.5) < 0.1);
	assert_true(go_profile_scale(1 << 30, 512 << 10) == 1);
	assert_true(go_profile_scale(16, 1) == 1);
	assert_true(go_profile_scale(16, 0) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_functions), cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_waiting),   cmocka_unit_test(test_circle),
		cmocka_unit_test(test_scale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
