/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the address space is divided among claims, against one that asks for each
 * byte by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "map/ladder_internal.h"

enum { N_BYTES = 4096, PARTS = 6 };

static void work_clear(struct ladder_work *w)
{
	maps_clear(&w->maps);
	hash_map_clear(&w->by_key);
	free(w->claims);
	free(w->pages);
	free(w->pieces);
	ladder_clear(&w->l);
}

static void parse(struct ladder_work *w, const char *text)
{
	struct error err = { 0 };

	assert_int_equal(maps_parse(text, strlen(text), &w->maps, &err), 0);
}

static void add_parts(struct ladder_work *w)
{
	struct error err = { 0 };
	uint32_t part;

	for (uint32_t i = 0; i < PARTS; i++) {
		assert_int_equal(ladder_label_add(w, REGIONS_JEMALLOC, &part, &err), 0);
		assert_int_equal(part, i);
	}
}

static void claim(struct ladder_work *w, uint64_t start, uint64_t end, uint32_t part,
                  enum ladder_rank rank)
{
	struct error err = { 0 };

	assert_int_equal(ladder_divide_claim(w, start, end, part, rank, &err), 0);
}

static void divide(struct ladder_work *w)
{
	struct error err = { 0 };

	assert_int_equal(ladder_divide(w, &err), 0);
}

static void check_piece(const struct ladder_work *w, size_t i, uint64_t start, uint64_t end,
                        int64_t part)
{
	assert_true(i < w->n_pieces);
	assert_int_equal(w->pages[i].start, start);
	assert_int_equal(w->pages[i].end, end);
	if (part >= 0)
		assert_int_equal(w->pieces[i].part, part);
	else
		assert_true(w->pieces[i].part >= PARTS);
}

static const char two_mappings[] = "1000-3000 rw-p 00000000 00:00 0 \n"
				   "5000-6000 ---p 00000000 00:00 0 \n"
				   "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 "
				   "[vsyscall]\n";

static void test_clipped_to_the_mappings(void **state)
{
	cleanup(work_clear) struct ladder_work w = { 0 };

	parse(&w, two_mappings);
	add_parts(&w);
	claim(&w, 0, 1 << 20, 0, LADDER_RUNTIME_PROVEN);
	divide(&w);
	assert_int_equal(w.n_pieces, 2);
	check_piece(&w, 0, 0x1000, 0x3000, 0);
	check_piece(&w, 1, 0x5000, 0x6000, 0);
	assert_int_equal(w.l.overlap_bytes, 0);
}

static void test_the_stronger_keeps_the_bytes(void **state)
{
	cleanup(work_clear) struct ladder_work w = { 0 };

	parse(&w, two_mappings);
	add_parts(&w);
	claim(&w, 0x1000, 0x2000, 0, LADDER_RUNTIME_SHAPE);
	claim(&w, 0x1800, 0x2800, 1, LADDER_PROVEN);
	claim(&w, 0x1900, 0x1a00, 2, LADDER_RUNTIME_PROVEN);
	claim(&w, 0x1980, 0x1b00, 3, LADDER_RUNTIME_PROVEN);
	divide(&w);
	check_piece(&w, 0, 0x1000, 0x1800, 0);
	check_piece(&w, 1, 0x1800, 0x1900, 1);
	check_piece(&w, 2, 0x1900, 0x1a00, 2);
	check_piece(&w, 3, 0x1a00, 0x1b00, 3);
	check_piece(&w, 4, 0x1b00, 0x2800, 1);
	check_piece(&w, 5, 0x2800, 0x3000, -1);
	check_piece(&w, 6, 0x5000, 0x6000, -1);
	assert_int_equal(w.n_pieces, 7);
	assert_int_equal(w.l.overlap_bytes, 0x80);
	assert_string_equal(w.l.parts[w.pieces[5].part].heap.kind, REGIONS_UNNAMED);
	assert_string_equal(w.l.parts[w.pieces[6].part].heap.kind, REGIONS_GUARD);
}

/* What the structures of a heap say of a file's pages is old. */
static void test_files_are_no_heap(void **state)
{
	cleanup(work_clear) struct ladder_work w = { 0 };

	parse(&w, "1000-2000 rw-p 00000000 00:00 0 \n"
	          "2000-3000 r--p 00000000 08:01 77 /some/file\n"
	          "3000-4000 rw-p 00001000 08:01 77 /some/file\n");
	add_parts(&w);
	claim(&w, 0x1000, 0x4000, 0, LADDER_RUNTIME_PROVEN);
	divide(&w);
	check_piece(&w, 0, 0x1000, 0x2000, 0);
	check_piece(&w, 1, 0x2000, 0x3000, -1);
	check_piece(&w, 2, 0x3000, 0x4000, 0);
	assert_int_equal(w.file_over_heap_bytes, 0x1000);
	assert_string_equal(w.l.parts[w.pieces[1].part].heap.name, "file");
}

static uint32_t slow_keeper(const struct ladder_work *w, const struct ladder_claim *claims,
                            size_t n, uint64_t at)
{
	const struct ladder_claim *best = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct ladder_claim *c = &claims[i];

		if (at >= c->start && at < c->end && (!best || c->rank > best->rank))
			best = c;
	}
	return best ? best->part : PARTS;
}

static void test_random_claims(void **state)
{
	struct ladder_claim claims[40];

	srand(4711);
	for (int round = 0; round < 300; round++) {
		cleanup(work_clear) struct ladder_work w = { 0 };
		uint64_t covered = 0;

		parse(&w, "0-400 rw-p 00000000 00:00 0 \n400-800 r--p 00000000 00:00 0 \n"
		          "a00-1000 rw-p 00000000 00:00 0 \n");
		add_parts(&w);
		for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
			uint64_t start = (uint64_t)rand() % N_BYTES;

			claims[i] = (struct ladder_claim){
				.start = start,
				.end = start + 1 + (uint64_t)rand() % 600,
				.part = (uint32_t)rand() % PARTS,
				.rank = (enum ladder_rank)(rand() % 4),
			};
			claim(&w, claims[i].start, claims[i].end, claims[i].part, claims[i].rank);
		}
		divide(&w);
		for (size_t i = 0; i < w.n_pieces; i++) {
			if (i)
				assert_true(w.pages[i].start >= w.pages[i - 1].end);
			for (uint64_t at = w.pages[i].start; at < w.pages[i].end; at++)
				assert_int_equal(w.pieces[i].part,
				                 slow_keeper(&w, claims, ARRAY_SIZE(claims), at));
			covered += w.pages[i].end - w.pages[i].start;
		}
		assert_int_equal(covered, 0x400 + 0x400 + 0x600);
	}
}

static void test_find(void **state)
{
	struct ladder_range ranges[] = { { 0x1000, 0x2000, 3 },
		                         { 0x2000, 0x2800, 4 },
		                         { 0x5000, 0x6000, 3 } };
	struct ladder l = { .ranges = ranges, .n_ranges = 3 };

	assert_null(ladder_find(&l, 0xfff));
	assert_ptr_equal(ladder_find(&l, 0x1000), &ranges[0]);
	assert_ptr_equal(ladder_find(&l, 0x27ff), &ranges[1]);
	assert_null(ladder_find(&l, 0x2800));
	assert_ptr_equal(ladder_find(&l, 0x5fff), &ranges[2]);
	assert_null(ladder_find(&l, 0x6000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clipped_to_the_mappings),
		cmocka_unit_test(test_the_stronger_keeps_the_bytes),
		cmocka_unit_test(test_files_are_no_heap),
		cmocka_unit_test(test_random_claims),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
