/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/rows.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"

void rows_clear(struct rows *b)
{
	free(b->items);
	free(b->pieces);
	*b = (struct rows){ 0 };
}

/* Number of sorted pieces that start at or before @pc. */
static size_t pieces_until(const struct rows *b, uint32_t pc)
{
	return partition_point(b->n_sorted, i, b->pieces[i].start <= pc);
}

/* Sorted pieces rarely overlap, so the last one that starts at or before @pc is
 * the only one to ask. */
static struct rows_piece *piece_at(const struct rows *b, uint32_t pc)
{
	size_t n = pieces_until(b, pc);

	return n && pc < b->pieces[n - 1].end ? &b->pieces[n - 1] : NULL;
}

bool rows_is_free(const struct rows *b, uint64_t start, uint64_t end)
{
	if (start < b->text_base || end > b->text_end || end <= start)
		return false;
	return !piece_at(b, start - b->text_base) &&
	       pieces_until(b, start - b->text_base) == pieces_until(b, end - 1 - b->text_base);
}

int rows_begin(struct rows *b, uint64_t start, uint64_t end, struct error *err)
{
	int r;

	if (start < b->text_base || start >= b->text_end || end <= start)
		return 1;
	if (end > b->text_end)
		end = b->text_end;
	if (piece_at(b, start - b->text_base))
		return 1;
	r = array_reserve(&b->pieces, &b->cap_pieces, b->n_pieces + 1, err);
	if (r < 0)
		return r;
	b->pieces[b->n_pieces++] = (struct rows_piece){
		.start = start - b->text_base,
		.end = end - b->text_base,
		.first = b->n_items,
	};
	return 0;
}

static bool same_rule(const struct unwind_row *a, const struct unwind_row *b)
{
	return a->type == b->type && a->cfa_offset == b->cfa_offset && a->rbp_slot == b->rbp_slot;
}

int rows_add(struct rows *b, uint64_t vaddr, struct unwind_row row, struct error *err)
{
	struct rows_piece *p = &b->pieces[b->n_pieces - 1];
	struct unwind_row *last = p->n ? &b->items[p->first + p->n - 1] : NULL;
	int r;

	if (vaddr < b->text_base + p->start || vaddr >= b->text_base + p->end)
		return 0;
	row.pc = vaddr - b->text_base;
	if (last && last->pc >= row.pc) {
		row.pc = last->pc;
		*last = row;
		return 0;
	}
	if (last && same_rule(last, &row))
		return 0;
	r = array_reserve(&b->items, &b->cap_items, b->n_items + 1, err);
	if (r < 0)
		return r;
	b->items[b->n_items++] = row;
	p->n++;
	return 0;
}

void rows_abandon(struct rows *b)
{
	b->n_items = b->pieces[--b->n_pieces].first;
}

static int by_start(const void *a, const void *b)
{
	const struct rows_piece *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

void rows_sort(struct rows *b)
{
	bool sorted = true;

	for (size_t i = 1; i < b->n_pieces && sorted; i++)
		sorted = b->pieces[i - 1].start <= b->pieces[i].start;
	if (!sorted)
		qsort(b->pieces, b->n_pieces, sizeof(*b->pieces), by_start);
	b->n_sorted = b->n_pieces;
}

bool rows_set_end(struct rows *b, uint64_t vaddr)
{
	struct rows_piece *p = NULL;

	if (vaddr >= b->text_base && vaddr < b->text_end)
		p = piece_at(b, vaddr - b->text_base);
	if (!p || !p->n)
		return false;
	p->n = 1;
	b->items[p->first] = (struct unwind_row){ .pc = p->start, .type = UNWIND_END };
	return true;
}

struct row_list {
	struct unwind_row *items;
	size_t n_items;
};

/* There is room for it, see rows_finish(). */
static void append(struct row_list *l, struct unwind_row row)
{
	struct unwind_row *last = l->n_items ? &l->items[l->n_items - 1] : NULL;

	if (last && last->pc == row.pc)
		l->n_items--;
	last = l->n_items ? &l->items[l->n_items - 1] : NULL;
	if (!last || !same_rule(last, &row))
		l->items[l->n_items++] = row;
}

static void append_piece(const struct rows *b, size_t i, struct row_list *l)
{
	const struct rows_piece *p = &b->pieces[i];
	bool last = i + 1 == b->n_pieces;
	uint32_t end = last || p->end < p[1].start ? p->end : p[1].start;

	for (size_t k = p->first; k < (size_t)p->first + p->n && b->items[k].pc < end; k++)
		append(l, b->items[k]);
	append(l, (struct unwind_row){ .pc = end, .type = UNWIND_NONE });
}

int rows_finish(struct rows *b, struct unwind_row **ret, size_t *ret_n, struct error *err)
{
	cleanup_free struct unwind_row *items = NULL;
	struct row_list l = { 0 };

	rows_sort(b);
	l.items = items = malloc((b->n_items + b->n_pieces + 1) * sizeof(*items));
	if (!items)
		return error_oom(err);
	/* a row for every pc of the text */
	if (b->n_pieces)
		append(&l, (struct unwind_row){ .pc = 0, .type = UNWIND_NONE });
	for (size_t i = 0; i < b->n_pieces; i++)
		append_piece(b, i, &l);
	*ret = take_ptr(items);
	*ret_n = l.n_items;
	return 0;
}
