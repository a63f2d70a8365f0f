/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/search.h"
#include "base/spare.h"
#include "base/utf8.h"

static void error_is_built_outwards(void **state)
{
	struct error err = { 0 };

	assert_int_equal(error_sys(&err, ENOENT, "open %s", "x"), -ENOENT);
	assert_int_equal(error_context(&err, "process %d", 7), -ENOENT);
	assert_string_equal(err.message, "process 7: open x: No such file or directory");
	error_hint(&err, "try %s", "y");
	assert_string_equal(err.hint, "try y");
	assert_int_equal(error_set(&err, EINVAL, "again"), -EINVAL);
	assert_string_equal(err.hint, "");
}

static void long_messages_are_cut(void **state)
{
	struct error err = { 0 };

	error_set(&err, EINVAL, "%0600d", 1);
	error_context(&err, "%0600d", 2);
	assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
}

static void printed_errors_hold_no_control_bytes(void **state)
{
	cleanup_free char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct error err = { 0 };

	error_set(&err, EINVAL, "bad \x1b[31mname\n");
	error_print(&err, f);
	fclose(f);
	assert_string_equal(text, "memwho: bad ?[31mname?\n");
}

static void hash_map_keeps_what_it_was_given(void **state)
{
	struct hash_map m = { 0 };
	struct error err;
	size_t pos = 0, n = 0;

	for (uint64_t i = 0; i < 10000; i++)
		assert_int_equal(hash_map_put(&m, i * 8, i, &err), 0);
	for (uint64_t i = 0; i < 10000; i++)
		assert_int_equal(*hash_map_get(&m, i * 8), i);
	assert_null(hash_map_get(&m, 3));
	assert_int_equal(hash_map_put(&m, 16, 99, &err), 0);
	assert_int_equal(*hash_map_get(&m, 16), 99);
	assert_int_equal(m.n, 10000);
	for (uint64_t i = 0; i < 5; i++)
		assert_int_equal(hash_map_add(&m, 1, i, &err), 0);
	while (hash_map_next(&m, 1, &pos))
		n++;
	assert_int_equal(n, 5);
	hash_map_clear(&m);
}

static void array_reserve_refuses_overflow(void **state)
{
	char *items = NULL;
	size_t cap = 0;
	struct error err = { 0 };

	assert_int_equal(array_reserve(&items, &cap, SIZE_MAX, &err), -ENOMEM);
	assert_null(items);
	assert_int_equal(array_reserve(&items, &cap, 17, &err), 0);
	assert_int_equal(cap, 32);
	free(items);
}

static void json_is_valid_whatever_the_bytes(void **state)
{
	cleanup_free char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct json j = json_on(f);

	json_object(&j);
	json_key(&j, "a");
	json_string(&j, "x\"\\\n\x01<\xff\xc3\xa4");
	json_key(&j, "b");
	json_array(&j);
	json_int(&j, -1);
	json_double(&j, 0.5);
	json_double(&j, 0.0 / 0.0);
	json_bool(&j, true);
	json_array_end(&j);
	json_object_end(&j);
	fclose(f);
	assert_string_equal(text, "{\"a\":\"x\\\"\\\\\\n\\u0001\\u003c\xef\xbf\xbd\xc3\xa4\","
	                          "\"b\":[-1,0.5,null,true]}");
}

static void utf8_refuses_what_is_not(void **state)
{
	assert_int_equal(utf8_sequence("a", 1), 1);
	assert_int_equal(utf8_sequence("\xc3\xa4", 2), 2);
	assert_int_equal(utf8_sequence("\xc3\xa4", 1), 0);
	assert_int_equal(utf8_sequence("\xc0\x80", 2), 0);     /* overlong */
	assert_int_equal(utf8_sequence("\xed\xa0\x80", 3), 0); /* surrogate */
	assert_int_equal(utf8_sequence("\xf4\x90\x80\x80", 4), 0);
	assert_int_equal(utf8_sequence("\xf0\x9f\x98\x80", 4), 4);
}

/* Beside a linear look at every list of up to 9 numbers, with equal ones among them. */
static void partition_point_is_the_first_that_is_not(void **state)
{
	static const int numbers[] = { -4, 0, 0, 1, 3, 3, 3, 8, 9 };

	(void)state;
	for (size_t n = 0; n <= ARRAY_SIZE(numbers); n++) {
		for (int limit = -6; limit < 12; limit++) {
			size_t expected = 0;

			while (expected < n && numbers[expected] < limit)
				expected++;
			assert_int_equal(partition_point(n, i, numbers[i] < limit), expected);
		}
	}
}

/* Of two that are large enough the smaller one; none that is small, or more than twice as large. */
static void a_large_block_that_was_given_is_taken_again(void **state)
{
	void *small = malloc(1000), *four = malloc(4 << 20), *six = malloc(6 << 20);
	void *a, *b, *c;

	(void)state;
	assert_non_null(small);
	assert_non_null(four);
	assert_non_null(six);
	spare_give(small);
	spare_give(six);
	spare_give(four);
	spare_give(NULL);
	a = spare_take(1 << 20);
	assert_ptr_not_equal(a, four);
	assert_ptr_not_equal(a, six);
	b = spare_take((4 << 20) - 100);
	assert_ptr_equal(b, four);
	c = spare_take((4 << 20) - 100);
	assert_ptr_equal(c, six);
	memset(c, 1, 6 << 20);
	free(a);
	spare_give(b);
	spare_give(c);
	spare_drop();
	a = spare_take(100);
	assert_non_null(a);
	free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_is_built_outwards),
		cmocka_unit_test(long_messages_are_cut),
		cmocka_unit_test(printed_errors_hold_no_control_bytes),
		cmocka_unit_test(hash_map_keeps_what_it_was_given),
		cmocka_unit_test(array_reserve_refuses_overflow),
		cmocka_unit_test(partition_point_is_the_first_that_is_not),
		cmocka_unit_test(a_large_block_that_was_given_is_taken_again),
		cmocka_unit_test(json_is_valid_whatever_the_bytes),
		cmocka_unit_test(utf8_refuses_what_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
