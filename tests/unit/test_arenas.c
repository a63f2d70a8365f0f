/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "arenaimage.h"
#include "base/cleanup.h"
#include "runtime/glibc/glibc_heap.h"
#include "runtime/musl/musl_heap.h"

static struct arenaimage image;

static void label(struct regions *to, int glibc)
{
	cleanup(peek_close) struct peek p = { 0 };
	struct error err = { 0 };
	int r = peek_open_pieces(&p, image.pieces, 2, &err);

	assert_int_equal(r, 0);
	r = glibc ? glibc_heap_label(&p, "/bin/x", &image.in, to, &err)
	          : musl_heap_label(&p, "/bin/x", &image.in, to, &err);
	assert_int_equal(r, 0);
	maps_clear(&image.maps);
}

static void test_glibc(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };

	image_glibc(&image);
	label(&r, 1);
	assert_int_equal(r.n_heaps, 1);
	assert_int_equal(r.heaps[0].in_use_bytes, image.used);
	assert_int_equal(r.heaps[0].cached_bytes, image.cached);
	assert_int_equal(regions_value(&r.heaps[0], "free_bytes"), image.free);
	assert_int_equal(regions_value(&r.heaps[0], "fastbin_bytes"), image.fast);
	assert_int_equal(regions_value(&r.heaps[0], "top_bytes"), image.top);
	assert_int_equal(r.heaps[0].inconsistent, 0);
	assert_int_equal(r.n_ranges, 1);
	assert_int_equal(r.ranges[0].start, IMAGE_HEAP);
	assert_int_equal(r.ranges[0].end, IMAGE_HEAP + IMAGE_HEAP_BYTES);
}

/* The break has moved since the mappings were listed: what is behind is walked all the same, and
 * the rows stay within what is listed. */
static void test_glibc_that_grows(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };

	image_glibc(&image);
	image.maps.items[1].end = IMAGE_HEAP + 0x3000;
	assert_true(*image_word(&image, IMAGE_STATE + 96) > IMAGE_HEAP + 0x3000);
	label(&r, 1);
	assert_int_equal(r.n_heaps, 1);
	assert_int_equal(r.heaps[0].in_use_bytes, image.used);
	assert_int_equal(regions_value(&r.heaps[0], "free_bytes"), image.free);
	assert_int_equal(regions_value(&r.heaps[0], "top_bytes"), image.top);
	assert_int_equal(r.heaps[0].inconsistent, 0);
	assert_int_equal(r.n_ranges, 1);
	assert_int_equal(r.ranges[0].start, IMAGE_HEAP);
	assert_int_equal(r.ranges[0].end, IMAGE_HEAP + 0x3000);
}

/* Nothing but brk grows that way. */
static void test_glibc_top_nowhere(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };

	image_glibc(&image);
	image.maps.items[1].end = IMAGE_HEAP + 0x3000;
	image.maps.items[1].name[0] = 0;
	label(&r, 1);
	assert_int_equal(r.n_heaps, 0);
}

/* A size that leads nowhere is counted; the bins still tell what is free. */
static void test_glibc_torn_chunk(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };

	image_glibc(&image);
	*image_word(&image, IMAGE_HEAP + 0x290 + 0x30 + 0x20 + 8) = 0x7771;
	label(&r, 1);
	assert_int_equal(r.n_heaps, 1);
	assert_int_equal(r.heaps[0].in_use_bytes, image.used);
	assert_true(r.heaps[0].inconsistent > 0);
}

/* A fastbin that leads to itself. */
static void test_glibc_loop(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };
	uint64_t fast = IMAGE_HEAP + 0x290 + 0x30;

	image_glibc(&image);
	*image_word(&image, fast + 16) = fast ^ (fast + 16) >> 12;
	label(&r, 1);
	assert_int_equal(r.n_heaps, 1);
	assert_true(r.heaps[0].inconsistent > 0);
	assert_int_equal(regions_value(&r.heaps[0], "fastbin_bytes"), image.fast);
}

/* Bins that contradict themselves are no arena. */
static void test_glibc_no_arena(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };

	image_glibc(&image);
	for (unsigned k = 10; k < 20; k++)
		*image_word(&image, IMAGE_STATE + 112 + 16 * k) = 0x1234;
	label(&r, 1);
	assert_int_equal(r.n_heaps, 0);
}

static void test_musl(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };

	image_musl(&image);
	label(&r, 0);
	assert_int_equal(r.n_heaps, 1);
	assert_int_equal(r.heaps[0].in_use_bytes, 40 + 31);
	assert_int_equal(regions_value(&r.heaps[0], "blocks"), 2);
	assert_int_equal(regions_value(&r.heaps[0], "free_bytes"), 3 * 48);
	assert_int_equal(r.heaps[0].inconsistent, 0);
	assert_int_equal(r.n_ranges, 2);
}

static void test_musl_other_secret(void **state)
{
	cleanup(regions_clear) struct regions r = { 0 };

	image_musl(&image);
	*image_word(&image, IMAGE_HEAP) += 1;
	label(&r, 0);
	assert_int_equal(r.n_heaps, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_glibc),
		cmocka_unit_test(test_glibc_torn_chunk),
		cmocka_unit_test(test_glibc_that_grows),
		cmocka_unit_test(test_glibc_top_nowhere),
		cmocka_unit_test(test_glibc_loop),
		cmocka_unit_test(test_glibc_no_arena),
		cmocka_unit_test(test_musl),
		cmocka_unit_test(test_musl_other_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
