/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "runtime/go/go_statics.h"

/*
 * The data of a program that does not exist: `var all [N]*item` at its start, then N items
 * {next *item; word uint64} without a name, which `all` points to from the last to the first, so
 * that each is found before all that are known; and one more behind, which only the first one's
 * `next` leads to.
 */
enum {
	N = (1 << 17) - 1,
	WORD = 8,
	ITEM = 16,
	VARIABLE_TYPE = 1,
	ITEM_TYPE = 2,
	ITEM_LABEL = 1000
};
#define BASE   0x100000ull
#define ITEMS  (BASE + N * WORD)
#define BEHIND (ITEMS + N * ITEM)
#define END    (BEHIND + ITEM)

static struct {
	uint64_t words[N + 2 * (N + 1)];
	uint8_t mask[(N + 2 * (N + 1) + 7) / 8];
	struct go_types_slot slots[N], next;
	struct go_types_type types[3];
} program;

/* ---- what go_statics.c asks ---- */

int image_read(struct image *i, uint64_t addr, void *buf, size_t len)
{
	(void)i;
	memcpy(buf, (const uint8_t *)program.words + (addr - BASE), len);
	return 0;
}

const void *image_at(struct image *i, uint64_t addr, size_t len)
{
	(void)i, (void)addr, (void)len;
	return program.mask;
}

uint32_t go_types_variable(struct go_types *t, uint64_t addr, uint64_t *start)
{
	(void)t;
	*start = BASE;
	return addr >= BASE && addr < ITEMS ? VARIABLE_TYPE : 0;
}

const struct go_types_type *go_types_get(struct go_types *t, uint32_t type)
{
	(void)t;
	return &program.types[type];
}

const struct go_types_slot *go_types_slot_at(const struct go_types_type *t, uint64_t offset)
{
	if (t == &program.types[VARIABLE_TYPE])
		return &program.slots[offset / WORD];
	return offset ? NULL : &program.next;
}

bool go_claims_target(struct go_claims *c, const struct go_types_slot *slot, uint64_t at,
                      uint64_t value, uint32_t *type, uint64_t *n)
{
	(void)c, (void)at, (void)value;
	*type = slot->to;
	*n = 1;
	return true;
}

struct go_types_dwarf *go_types_dwarf_of(struct go_types *t)
{
	return (struct go_types_dwarf *)t;
}

const char *object_graph_name(const struct object_graph *g, uint32_t id)
{
	(void)g;
	return id == ITEM_LABEL ? ".next" : "[]";
}

int object_graph_text(struct object_graph *g, const char *s, size_t len, uint32_t *ret,
                      struct error *err)
{
	(void)g, (void)len, (void)err;
	*ret = strcmp(s, "[].next") ? 1 : ITEM_LABEL + 1;
	return 0;
}

/* ---- */

static void make_program(void)
{
	program.types[VARIABLE_TYPE].size = N * WORD;
	program.types[ITEM_TYPE].size = ITEM;
	program.next = (struct go_types_slot){ .to = ITEM_TYPE, .label = ITEM_LABEL };
	for (size_t i = 0; i < N; i++) {
		program.slots[i] = (struct go_types_slot){ .offset = (uint32_t)(i * WORD),
			                                   .to = ITEM_TYPE };
		program.words[i] = ITEMS + (N - 1 - i) * ITEM;
		program.mask[i / 8] |= (uint8_t)(1 << i % 8);
	}
	/* the first item's next */
	program.words[N] = BEHIND;
	program.mask[N / 8] |= 1 << N % 8;
}

/* As many as are looked at: each in its place, and in no time that grows with their square. */
static void many_are_found_in_any_order(void **state)
{
	struct go_module module = { .data[0] = { .start = BASE,
		                                 .end = END,
		                                 .mask = 1,
		                                 .mask_bits = (END - BASE) / WORD } };
	struct go_objects objects = { .module = &module };
	struct go_claims claims = { .objects = &objects, .types = (struct go_types *)&program };
	struct go_statics found = { 0 };
	struct error err = { 0 };
	const clock_t begin = clock();

	(void)state;
	make_program();
	assert_int_equal(go_statics_find(&claims, &found, &err), 0);
	/* 0.1 s; moving those behind for each new one takes 4 s */
	assert_true(clock() - begin < 3 * CLOCKS_PER_SEC / 2);
	assert_int_equal(found.n, N + 1);
	for (size_t i = 0; i <= N; i++) {
		assert_true(found.items[i].start == ITEMS + i * ITEM);
		assert_true(found.items[i].end == ITEMS + (i + 1) * ITEM);
		assert_true(found.items[i].owner == BASE);
		assert_int_equal(found.items[i].type, ITEM_TYPE);
		assert_int_equal(found.items[i].label, i == N ? ITEM_LABEL + 1 : 1);
		assert_ptr_equal(go_statics_at(&found, ITEMS + i * ITEM + ITEM - 1),
		                 &found.items[i]);
	}
	assert_null(go_statics_at(&found, ITEMS - 1));
	assert_null(go_statics_at(&found, END));
	go_statics_clear(&found);
}

/* What is known of a place first stays: an item in the middle of another is left out. */
static void overlaps_are_left_out(void **state)
{
	struct go_module module = { .data[0] = { .start = BASE,
		                                 .end = END,
		                                 .mask = 1,
		                                 .mask_bits = (END - BASE) / WORD } };
	struct go_objects objects = { .module = &module };
	struct go_claims claims = { .objects = &objects, .types = (struct go_types *)&program };
	struct go_statics found = { 0 };
	struct error err = { 0 };

	(void)state;
	make_program();
	program.words[5] = program.words[4] + WORD;
	assert_int_equal(go_statics_find(&claims, &found, &err), 0);
	assert_int_equal(found.n, N);
	for (size_t i = 1; i < found.n; i++)
		assert_true(found.items[i].start >= found.items[i - 1].end);
	assert_null(go_statics_at(&found, ITEMS + (N - 1 - 5) * ITEM));
	assert_non_null(go_statics_at(&found, ITEMS + (N - 1 - 4) * ITEM));
	go_statics_clear(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_are_found_in_any_order),
		cmocka_unit_test(overlaps_are_left_out),
	};

	return cmocka_run_group_tests_name("go_statics", tests, NULL, NULL);
}
