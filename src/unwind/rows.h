/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Collects rows function by function, in any order and from several sources,
 * and makes one table of them. A piece is one function: [start, end) and its
 * rows by rising pc. Between pieces there is no rule (UNWIND_NONE). Of pieces
 * that overlap, the one that starts later ends the earlier one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/unwind_format.h"

struct rows_piece {
	uint32_t start, end; /* relative to text_base */
	uint32_t first, n;   /* of rows */
};

struct rows {
	uint64_t text_base, text_end; /* vaddrs: what rows may describe */
	struct unwind_row *items;
	size_t n_items, cap_items;
	struct rows_piece *pieces;
	size_t n_pieces, cap_pieces;
	size_t n_sorted;  /* pieces that rows_sort() has seen */
	size_t n_dropped; /* rules that no row can hold: the makers count */
};

void rows_clear(struct rows *b);

/* Begin a piece, vaddrs. A positive answer: nothing of it is text, or one that
 * was sorted in before covers its start; leave it out. */
int rows_begin(struct rows *b, uint64_t start, uint64_t end, struct error *err);
/* From @vaddr on, inside the piece begun last, @row's rule holds (its pc is
 * ignored). Rising vaddrs. */
int rows_add(struct rows *b, uint64_t vaddr, struct unwind_row row, struct error *err);
/* Forget the piece begun last. */
void rows_abandon(struct rows *b);
/* What came so far takes precedence over what comes from now on. */
void rows_sort(struct rows *b);

/* No piece that rows_sort() has seen touches [start, end), and it is text. */
bool rows_is_free(const struct rows *b, uint64_t start, uint64_t end);
/* After rows_sort(): the piece that covers @vaddr is an outermost frame. false if
 * there is none. */
bool rows_set_end(struct rows *b, uint64_t vaddr);

/* All rows in order, with the gaps; neighbours of equal rules are one. */
int rows_finish(struct rows *b, struct unwind_row **ret, size_t *ret_n, struct error *err);
