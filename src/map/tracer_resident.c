/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Which pages are resident, and who touched them first. Only the first fault on
 * a page is one: what a fault brought in beside its own page (file pages around
 * it, the rest of a huge page) had none, and is its as well.
 */

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/tracer_result.h"
#include "target/pages.h"

enum {
	FAULT_AROUND = 1 << 16, /* mm/memory.c: fault_around_bytes, as it is by default */
	HUGE = 1 << 21,
};

struct reading {
	struct tracer *t;
	struct tracer_process *p;
	struct tracer_pieces *ps;
	size_t at; /* piece */
	struct error *err;
};

static int add_touch(struct reading *r, const struct tracer_piece *piece,
                     const struct range_owner *by, enum tracer_touch_how how, u64 bytes)
{
	struct tracer_touch touch = { .how = how, .kind = piece->range.owner.kind, .bytes = bytes };
	struct tracer_pieces *ps = r->ps;
	uint64_t *index, hash;
	int rc;

	if (how == TRACER_TOUCH_SEEN) {
		touch.stack = by->stack;
		touch.tid = by->tid;
	}
	hash = hash_u64((u64)touch.stack << 32 | touch.tid) ^ hash_u64(touch.kind << 8 | how);
	for (size_t pos = 0; (index = hash_map_next(&ps->touch_index, hash, &pos));) {
		struct tracer_touch *known = &ps->touches[*index];

		if (known->stack == touch.stack && known->tid == touch.tid &&
		    known->kind == touch.kind && known->how == how) {
			known->bytes += bytes;
			return 0;
		}
	}
	rc = array_reserve(&ps->touches, &ps->cap_touches, ps->n_touches + 1, r->err);
	if (rc == 0)
		rc = hash_map_add(&ps->touch_index, hash, ps->n_touches, r->err);
	if (rc == 0)
		ps->touches[ps->n_touches++] = touch;
	return rc;
}

/* Whoever touched something of the same window of the same range, nearest first:
 * below, as what is around mostly follows; then above. */
static const struct range *touched_near(struct reading *r, const struct tracer_piece *piece,
                                        u64 start, u64 window)
{
	u64 low = start & ~(window - 1), high = low + window;
	const struct range *before = NULL, *x;
	struct range_at at;

	low = low > piece->range.start ? low : piece->range.start;
	high = high < piece->range.end ? high : piece->range.end;
	for (x = range_set_from(&r->p->touched, low, &at); x && x->start < high;
	     x = range_set_next(&r->p->touched, &at)) {
		if (x->start >= start)
			return before ? before : x;
		before = x;
	}
	return before;
}

/* Nobody's fault on [@start, @end), which lies in one window. */
static int add_around(struct reading *r, const struct tracer_piece *piece, u64 start, u64 end,
                      bool huge, u64 window)
{
	bool file = piece->range.owner.kind == RANGE_FILE || piece->range.owner.kind == RANGE_SHM ||
	            piece->range.owner.kind == RANGE_SHARED;
	const struct range *near = huge || file ? touched_near(r, piece, start, window) : NULL;

	if (near && !(near->owner.flags & RANGE_BEFORE_ATTACH))
		return add_touch(r, piece, &near->owner, TRACER_TOUCH_SEEN, end - start);
	return add_touch(r, piece, NULL,
	                 near || piece->range.owner.flags & RANGE_BEFORE_ATTACH
	                         ? TRACER_TOUCH_BEFORE
	                         : TRACER_TOUCH_UNSEEN,
	                 end - start);
}

static int add_untouched(struct reading *r, const struct tracer_piece *piece, u64 start, u64 end,
                         bool huge)
{
	u64 window = huge ? HUGE : FAULT_AROUND;
	int rc = 0;

	while (rc == 0 && start < end) {
		u64 stop = (start & ~(window - 1)) + window;

		stop = stop < end ? stop : end;
		rc = add_around(r, piece, start, stop, huge, window);
		start = stop;
	}
	return rc;
}

/* Resident pages of one piece, to those who touched them. */
static int share_out(struct reading *r, const struct tracer_piece *piece, u64 start, u64 end,
                     bool huge)
{
	struct range_at at;
	const struct range *x = range_set_from(&r->p->touched, start, &at);
	int rc = 0;

	while (rc == 0 && start < end) {
		u64 stop;

		if (!x || x->start >= end)
			return add_untouched(r, piece, start, end, huge);
		if (x->start > start) {
			rc = add_untouched(r, piece, start, x->start, huge);
			start = x->start;
			continue;
		}
		stop = x->end < end ? x->end : end;
		rc = add_touch(r, piece, &x->owner,
		               x->owner.flags & RANGE_BEFORE_ATTACH ? TRACER_TOUCH_BEFORE
		                                                    : TRACER_TOUCH_SEEN,
		               stop - start);
		start = stop;
		x = range_set_next(&r->p->touched, &at);
	}
	return rc;
}

static int on_run(void *arg, u64 start, u64 end, bool huge)
{
	struct reading *r = arg;
	struct tracer_pieces *ps = r->ps;

	while (r->at < ps->n_items && ps->items[r->at].range.end <= start)
		r->at++;
	for (size_t i = r->at; i < ps->n_items && ps->items[i].range.start < end; i++) {
		struct tracer_piece *piece = &ps->items[i];
		u64 from = piece->range.start > start ? piece->range.start : start;
		u64 to = piece->range.end < end ? piece->range.end : end;

		piece->resident += to - from;
		if (r->t->options.by == TRACER_BY_TOUCHED) {
			int rc = share_out(r, piece, from, to, huge);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

static int ranges_of(const struct range_set *s, struct pages_range **ret, struct error *err)
{
	struct pages_range *ranges = calloc(s->n_ranges + 1, sizeof(*ranges));
	const struct range *r;
	struct range_at at;
	size_t n = 0;

	if (!ranges)
		return error_oom(err);
	for (r = range_set_from(s, 0, &at); r; r = range_set_next(s, &at))
		ranges[n++] = (struct pages_range){ .start = r->start, .end = r->end };
	*ret = ranges;
	return 0;
}

int tracer_resident(struct tracer *t, struct tracer_process *p, struct tracer_pieces *ps,
                    struct error *err)
{
	struct reading reading = { t, p, ps, 0, err };
	cleanup_free struct pages_range *ranges = NULL;
	int r;

	if (!p->target || p->ended)
		return 0;
	r = ranges_of(&p->set, &ranges, err);
	if (r == 0)
		r = pages_each(p->target, ranges, p->set.n_ranges, on_run, &reading, err);
	/* it may end at any time */
	return r < 0 && target_alive(p->target) < 0 ? 0 : r;
}

static int was_there(void *arg, u64 start, u64 end, bool huge)
{
	struct reading *r = arg;
	struct range range = { start, end, 0, { .flags = RANGE_BEFORE_ATTACH } };

	return range_set_fill(&r->p->touched, &range, r->err);
}

int tracer_resident_before(struct tracer_process *p, struct error *err)
{
	struct reading reading = { .p = p, .err = err };
	cleanup_free struct pages_range *ranges = NULL;
	int r = ranges_of(&p->set, &ranges, err);

	return r < 0 ? r : pages_each(p->target, ranges, p->set.n_ranges, was_there, &reading, err);
}
