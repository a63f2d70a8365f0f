/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_heap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/glibc/glibc_mmapped.h"
#include "runtime/glibc/glibc_report.h"
#include "runtime/glibc/glibc_view.h"

static int label_one(struct peek *p, const struct regions_input *in, struct glibc_arenas *arenas,
                     unsigned number, struct regions *to, struct error *err)
{
	cleanup(glibc_view_clear) struct glibc_view v = { 0 };
	cleanup(glibc_mmapped_clear) struct glibc_mmapped mmapped = { 0 };
	int r = glibc_view_read(p, in, arenas, &v, err);

	if (r == 0)
		r = glibc_mmapped_find(p, in, arenas, &mmapped, err);
	if (r == 0)
		r = glibc_report_arenas(&v, in, number, to, err);
	if (r == 0)
		r = glibc_report_mmapped(&v, &mmapped, number, to, err);
	if (r == 0)
		r = glibc_report_findings(&v, in, to, err);
	return r;
}

int glibc_heap_label(struct peek *p, const char *exe, const struct regions_input *in,
                     struct regions *to, struct error *err)
{
	unsigned number = 0;
	size_t pos = 0;

	for (;;) {
		cleanup(glibc_arena_clear) struct glibc_arenas arenas = { 0 };
		int r = glibc_arena_next(p, in, exe, &pos, &arenas, err);

		if (r > 0)
			r = label_one(p, in, &arenas, number++, to, err) ?: 1;
		if (r <= 0)
			return r;
	}
}

static int block_in_arena(struct peek *p, const struct regions_input *in,
                          struct glibc_arenas *arenas, uint64_t addr, struct regions_block *ret,
                          struct error *err)
{
	cleanup(glibc_view_clear) struct glibc_view v = { 0 };
	size_t arena;
	int r;

	if (!glibc_arena_area_of(arenas, addr, &arena))
		return 0;
	r = glibc_view_read(p, in, arenas, &v, err);
	if (r == 0)
		r = glibc_view_block(&v, arena, addr, ret, err);
	if (r > 0)
		glibc_report_arena_name(arenas, arena, 0, ret->heap, sizeof(ret->heap));
	return r;
}

static int mmapped_block(struct peek *p, const struct regions_input *in,
                         const struct glibc_arenas *arenas, uint64_t addr,
                         struct regions_block *ret, struct error *err)
{
	cleanup(glibc_mmapped_clear) struct glibc_mmapped m = { 0 };
	int r = glibc_mmapped_find(p, in, arenas, &m, err);

	for (size_t i = 0; r == 0 && i < m.n; i++) {
		struct glibc_mmapped_block *b = &m.items[i];

		if (addr < b->start || addr >= b->end)
			continue;
		glibc_mmapped_align(p, arenas->shift, b);
		*ret = (struct regions_block){ .kind = REGIONS_GLIBC_MMAPPED,
			                       .start = b->at + 16,
			                       .size = b->usable,
			                       .state = REGIONS_BLOCK_LIVE };
		snprintf(ret->detail, sizeof(ret->detail), "a mapping of its own%s",
		         m.proven ? "" : ", by its header only");
		return 1;
	}
	return r;
}

int glibc_heap_find_block(struct peek *p, const char *exe, const struct regions_input *in,
                          uint64_t addr, struct regions_block *ret, struct error *err)
{
	size_t pos = 0;

	for (;;) {
		cleanup(glibc_arena_clear) struct glibc_arenas arenas = { 0 };
		int r = glibc_arena_next(p, in, exe, &pos, &arenas, err);

		if (r <= 0)
			return r;
		r = block_in_arena(p, in, &arenas, addr, ret, err);
		if (r == 0)
			r = mmapped_block(p, in, &arenas, addr, ret, err);
		if (r != 0)
			return r;
	}
}
