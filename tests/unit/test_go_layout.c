/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/go/go_layout.h"

static void releases_have_their_columns(void **state)
{
	struct go_layout l;

	(void)state;
	assert_int_equal(go_layout_of("go1.17.13", &l), 1);
	assert_int_equal(l.minor, 17);
	assert_int_equal(l.bits, GO_BITS_NIBBLES);
	assert_int_equal(l.moduledata_gcdatamask, 480);
	assert_int_equal(go_layout_of("go1.21.3", &l), 1);
	assert_int_equal(l.bits, GO_BITS_ARENA);
	assert_int_equal(go_layout_of("go1.26", &l), 1);
	assert_int_equal(l.bits, GO_BITS_SPAN);
	assert_int_equal(l.special_cleanup, 7);
	assert_null(go_layout_lacks(&l));
}

static void patch_releases_differ(void **state)
{
	struct go_layout old, new;

	(void)state;
	assert_int_equal(go_layout_of("go1.18.2", &old), 1);
	assert_int_equal(go_layout_of("go1.18.10", &new), 1);
	assert_int_equal(old.mspan_bytes, 136);
	assert_int_equal(new.mspan_bytes, 144);
	assert_int_equal(old.mspan_free_index_for_scan, GO_LAYOUT_NONE);
}

static void experiments_that_matter_have_columns(void **state)
{
	struct go_layout l;

	(void)state;
	assert_int_equal(go_layout_of("go1.22.5 X:noallocheaders", &l), 1);
	assert_int_equal(l.bits, GO_BITS_ARENA);
	assert_int_equal(l.least_header, GO_LAYOUT_NONE);
	assert_int_equal(go_layout_of("go1.25.4 X:nodwarf5,greenteagc", &l), 1);
	assert_int_equal(l.inline_marks_bytes, 128);
	assert_int_equal(go_layout_of("go1.25.4 X:nodwarf5", &l), 1);
	assert_int_equal(l.inline_marks_bytes, GO_LAYOUT_NONE);
}

static void others_are_not_known(void **state)
{
	struct go_layout l;

	(void)state;
	assert_int_equal(go_layout_of("go1.16.15", &l), 0);
	assert_int_equal(go_layout_of("go1.99.1", &l), 0);
	assert_int_equal(go_layout_of("go1.26.1 X:fieldtrack", &l), 0);
	assert_int_equal(go_layout_of("go1.25.1 X:greenteagc,noswissmap", &l), 0);
	assert_int_equal(go_layout_of("devel +abc", &l), 0);
	assert_int_equal(go_layout_of("", &l), 0);
	assert_int_equal(go_layout_of("go1.24.1 X:,,,", &l), 1);
}

static void what_is_missing_is_named(void **state)
{
	struct go_layout l;

	(void)state;
	assert_int_equal(go_layout_of("go1.24.1", &l), 1);
	l.g_stack = GO_LAYOUT_NONE;
	assert_string_equal(go_layout_lacks(&l), "g_stack");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(releases_have_their_columns),
		cmocka_unit_test(patch_releases_differ),
		cmocka_unit_test(experiments_that_matter_have_columns),
		cmocka_unit_test(others_are_not_known),
		cmocka_unit_test(what_is_missing_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
