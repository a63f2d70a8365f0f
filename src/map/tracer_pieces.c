/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What was mapped before the attach: nobody saw who asked for it, but the
 * ladder says whose it is. */

#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "map/tracer_result.h"

/* The parts of a living process; without them the kind of mapping has to do. */
static void read_parts(struct tracer *t, struct tracer_process *p, struct ladder *ret)
{
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	struct ladder_options options = { 0 };
	struct error why = { 0 };
	int r;

	if (!p->target || p->ended)
		return;
	/* not the tracer's own: looking refreshes it */
	r = symbol_space_new(t->pool, p->target, &space, &why);
	if (r == 0)
		r = ladder_read(p->target, space, &options, ret, &why);
	if (r < 0)
		log_note(LOG_DEBUG, "process %d: no ladder: %s", p->pid, why.message);
}

static int add_piece(struct tracer_pieces *ps, const struct range *r, u64 start, u64 end,
                     const struct ladder_range *part, struct error *err)
{
	struct tracer_piece piece = { .range = *r, .part = part ? (int)part->part : -1 };
	int rc = array_reserve(&ps->items, &ps->cap_items, ps->n_items + 1, err);

	if (rc < 0)
		return rc;
	piece.range.start = start;
	piece.range.end = end;
	ps->items[ps->n_items++] = piece;
	return 0;
}

/* A page is whose its first byte is. */
static int divide(struct tracer_pieces *ps, const struct range *r, struct error *err)
{
	u64 at = r->start;
	int rc = 0;

	while (rc == 0 && at < r->end) {
		const struct ladder_range *part = ladder_find(&ps->ladder, at);
		u64 end = part ? (part->end + 4095) & ~4095ULL : at + 4096;

		end = end < r->end ? end : r->end;
		rc = add_piece(ps, r, at, end, part, err);
		at = end;
	}
	return rc;
}

int tracer_pieces_make(struct tracer *t, struct tracer_process *p, struct tracer_pieces *ret,
                       struct error *err)
{
	const struct range *r;
	struct range_at at;
	int rc = 0;

	*ret = (struct tracer_pieces){ 0 };
	read_parts(t, p, &ret->ladder);
	for (r = range_set_from(&p->set, 0, &at); rc == 0 && r; r = range_set_next(&p->set, &at)) {
		if (r->owner.flags & RANGE_BEFORE_ATTACH && ret->ladder.n_ranges)
			rc = divide(ret, r, err);
		else
			rc = add_piece(ret, r, r->start, r->end, NULL, err);
	}
	return rc;
}

void tracer_pieces_clear(struct tracer_pieces *ps)
{
	ladder_clear(&ps->ladder);
	free(ps->items);
	free(ps->touches);
	hash_map_clear(&ps->touch_index);
	*ps = (struct tracer_pieces){ 0 };
}

int tracer_pieces_frames(struct tracer_filling *f, const struct tracer_pieces *ps,
                         const struct tracer_piece *piece, u32 *ids, struct error *err)
{
	const char *kind = tracer_kind_text(piece->range.owner.kind), *name = kind;
	int r;

	if (piece->part >= 0) {
		name = ps->ladder.parts[piece->part].heap.name;
		kind = ps->ladder.parts[piece->part].heap.kind;
		name = *name ? name : kind;
	}
	r = profile_frame_named(f->profile, name, &ids[0], err);
	if (r < 0 || name == kind)
		return r < 0 ? r : 1;
	r = profile_frame_named(f->profile, kind, &ids[1], err);
	return r < 0 ? r : 2;
}
