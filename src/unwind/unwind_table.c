/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "unwind/frames.h"
#include "unwind/rows.h"
#include "unwind/table.h"

struct unwind_table *unwind_table_free(struct unwind_table *t)
{
	if (!t)
		return NULL;
	free(t->rows);
	free(t->index);
	free(t);
	return NULL;
}

void unwind_table_freep(struct unwind_table **t)
{
	*t = unwind_table_free(*t);
}

/* From the lowest executable address to behind the highest, at most 4 GiB. */
static void find_text(const struct elf_file *f, uint64_t *start, uint64_t *end)
{
	*start = UINT64_MAX;
	*end = 0;
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		struct elf_segment s = elf_file_segment(f, i);

		if (s.type != PT_LOAD || !(s.flags & PF_X) || !s.filesz ||
		    s.filesz > elf_file_size(f) || s.vaddr > UINT64_MAX / 2)
			continue;
		*start = s.vaddr < *start ? s.vaddr : *start;
		*end = s.vaddr + s.filesz > *end ? s.vaddr + s.filesz : *end;
	}
	if (*end <= *start)
		*start = *end = 0;
	if (*end - *start > UINT32_MAX)
		*end = *start + UINT32_MAX;
}

static int make_index(struct unwind_table *t, struct error *err)
{
	size_t row = 0;

	if (!t->n_rows)
		return 0;
	t->n_index = ((t->text_end - 1 - t->text_base) >> UNWIND_INDEX_SHIFT) + 1;
	t->index = malloc(t->n_index * sizeof(*t->index));
	if (!t->index)
		return error_oom(err);
	for (size_t i = 0; i < t->n_index; i++) {
		uint64_t pc = (uint64_t)i << UNWIND_INDEX_SHIFT;

		while (row + 1 < t->n_rows && t->rows[row + 1].pc <= pc)
			row++;
		t->index[i] = row;
	}
	return 0;
}

static int fill(struct unwind_table *t, struct elf_file *f, const struct frames *frames,
                struct error *err)
{
	cleanup(rows_clear) struct rows rows = { .text_base = t->text_base,
		                                 .text_end = t->text_end };
	int r = frames_add_rows(frames, &rows, &t->n_fdes, err);

	if (r < 0)
		return r;
	r = rows_finish(&rows, &t->rows, &t->n_rows, err);
	if (r < 0)
		return r;
	t->n_dropped = rows.n_dropped;
	return make_index(t, err);
}

int unwind_table_make(struct elf_file *f, struct unwind_table **ret, struct error *err)
{
	cleanup(unwind_table_freep) struct unwind_table *t = calloc(1, sizeof(*t));
	cleanup(frames_clear) struct frames frames = { 0 };
	int r;

	if (!t)
		return error_oom(err);
	if (elf_file_machine(f) == EM_X86_64) {
		find_text(f, &t->text_base, &t->text_end);
		r = frames_load(f, &frames, err);
		if (r < 0)
			return r;
		r = fill(t, f, &frames, err);
		if (r < 0)
			return error_context(err, "%s: unwind table", elf_file_name(f));
	}
	*ret = take_ptr(t);
	return 0;
}

const struct unwind_row *unwind_table_find(const struct unwind_table *t, uint64_t vaddr)
{
	size_t slot, lo, hi;

	if (!t->n_rows || vaddr < t->text_base || vaddr >= t->text_end)
		return NULL;
	vaddr -= t->text_base;
	slot = vaddr >> UNWIND_INDEX_SHIFT;
	/* the answer is one of [lo, hi] */
	lo = t->index[slot];
	hi = slot + 1 < t->n_index ? t->index[slot + 1] : t->n_rows - 1;
	while (lo < hi) {
		size_t middle = lo + (hi - lo + 1) / 2;

		if (t->rows[middle].pc <= vaddr)
			lo = middle;
		else
			hi = middle - 1;
	}
	return &t->rows[lo];
}
