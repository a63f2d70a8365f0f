/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/go/go_objects.h"
#include "runtime/go/go_span_memory.h"

enum { SPANS = 300, SPAN_BYTES = 8192, LIMIT = 20 * SPAN_BYTES };

/* ---- an image: every byte is its span's number; some spans are not there for a while ---- */

static struct {
	unsigned reads, to_fail; /* of reads to come */
} image;

enum image_kind image_kind(const struct image *i)
{
	(void)i;
	return IMAGE_PROCESS;
}

const void *image_at(struct image *i, uint64_t addr, size_t len)
{
	(void)i, (void)addr, (void)len;
	return NULL;
}

int image_copy(struct image *i, uint64_t addr, void *buf, size_t len)
{
	(void)i;
	image.reads++;
	if (image.to_fail) {
		image.to_fail--;
		return -ENODATA;
	}
	memset(buf, (int)(addr / SPAN_BYTES), len);
	return 0;
}

/* ---- */

struct heap {
	struct go_objects_span spans[SPANS];
	struct go_span_memory memory;
};

static void open_heap(struct heap *h)
{
	memset(h, 0, sizeof(*h));
	memset(&image, 0, sizeof(image));
	for (size_t k = 0; k < SPANS; k++) {
		h->spans[k].start = k * SPAN_BYTES;
		h->spans[k].end = (k + 1) * SPAN_BYTES;
	}
	go_span_memory_open(&h->memory, NULL, h->spans, SPANS, LIMIT);
}

static uint64_t bytes_there(const struct heap *h)
{
	uint64_t bytes = 0;

	for (size_t k = 0; k < SPANS; k++)
		bytes += h->spans[k].memory ? SPAN_BYTES : 0;
	return bytes;
}

static void check(struct heap *h, size_t k)
{
	const uint8_t *memory = go_span_memory_get(&h->memory, &h->spans[k]);

	assert_non_null(memory);
	assert_int_equal(memory[0], (uint8_t)k);
	assert_int_equal(memory[SPAN_BYTES - 1], (uint8_t)k);
}

/* However often they are asked for, and in whatever order. */
static void test_limit(void **state)
{
	struct heap h;
	uint32_t any = 1;

	(void)state;
	open_heap(&h);
	for (size_t i = 0; i < 100 * SPANS; i++) {
		any = any * 1664525 + 1013904223;
		check(&h, any / 65536 % SPANS);
		assert_true(bytes_there(&h) <= LIMIT);
		assert_int_equal(h.memory.held, bytes_there(&h));
	}
	assert_true(image.reads > SPANS);
	go_span_memory_drop(&h.memory);
	assert_int_equal(bytes_there(&h), 0);
	check(&h, 3);
	go_span_memory_close(&h.memory);
}

/* Whose memory is in use stays, above the limit if it must. */
static void test_pinned(void **state)
{
	struct heap h;
	const uint8_t *first;

	(void)state;
	open_heap(&h);
	first = go_span_memory_get(&h.memory, &h.spans[0]);
	h.spans[0].pins++;
	for (size_t k = 1; k < SPANS; k++)
		check(&h, k);
	assert_ptr_equal(h.spans[0].memory, first);
	assert_int_equal(first[17], 0);
	h.spans[0].pins--;
	go_span_memory_close(&h.memory);
}

/* A page that was just moved: there at the second try. One that is not is missing for good. */
static void test_second_try(void **state)
{
	struct heap h;

	(void)state;
	open_heap(&h);
	image.to_fail = 1;
	check(&h, 5);
	assert_false(h.spans[5].is_missing);
	assert_int_equal(image.reads, 2);
	image.to_fail = 2;
	assert_null(go_span_memory_get(&h.memory, &h.spans[6]));
	assert_true(h.spans[6].is_missing);
	assert_null(go_span_memory_get(&h.memory, &h.spans[6]));
	assert_int_equal(image.reads, 4);
	check(&h, 7);
	go_span_memory_close(&h.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_second_try),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
