/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/feature.h"

static void only_whole_names_switch_off(void **state)
{
	assert_true(feature_allowed_in(NULL, "btf"));
	assert_true(feature_allowed_in("", "btf"));
	assert_false(feature_allowed_in("btf", "btf"));
	assert_false(feature_allowed_in("bpf_loop, btf,", "btf"));
	assert_true(feature_allowed_in("uprobe_multi", "uprobe"));
	assert_true(feature_allowed_in("uprobe", "uprobe_multi"));
	assert_false(feature_allowed_in(",,btf", "btf"));
}

static void the_environment_decides(void **state)
{
	setenv("MEMWHO_WITHOUT", "pagemap_scan", 1);
	assert_false(feature_allowed("pagemap_scan"));
	assert_true(feature_allowed("btf"));
	unsetenv("MEMWHO_WITHOUT");
	assert_true(feature_allowed("pagemap_scan"));
}

static void a_name_that_nobody_asks_for_is_an_error(void **state)
{
	struct error err = { 0 };

	setenv("MEMWHO_WITHOUT", " btf,pagemap_scan,", 1);
	assert_int_equal(feature_check(&err), 0);
	setenv("MEMWHO_WITHOUT", "btf,pagemapscan", 1);
	assert_int_equal(feature_check(&err), -EINVAL);
	assert_non_null(strstr(err.message, "'pagemapscan'"));
	unsetenv("MEMWHO_WITHOUT");
	assert_int_equal(feature_check(&err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_whole_names_switch_off),
		cmocka_unit_test(the_environment_decides),
		cmocka_unit_test(a_name_that_nobody_asks_for_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
