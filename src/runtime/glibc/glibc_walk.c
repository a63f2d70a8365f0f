/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum {
	WINDOW = 1 << 20,
	MIN_CHUNK = 32,
	CHUNK_STRUCT = 48, /* sizeof(struct malloc_chunk): what mtrim() leaves of a chunk */
	PAGE = 4096,
	RETRIES = 3, /* of one piece */
	MAX_RETRIES = 64,
};

/* What has to be put back when a piece is read again. */
struct walker {
	const struct glibc_walk *w;
	const struct glibc_area *area;
	struct glibc_walk_sum sum;
	uint64_t top;
	/* the chunk whose state the next header tells */
	struct glibc_walk_chunk before;
	uint64_t run;                        /* start of the free chunks in a row; 0: none */
	uint64_t present_start, present_end; /* pages that are there, behind the last question */
	size_t next_fast;
	uint64_t page, page_free, page_live;
	bool stopped;
};

/* Resident bytes of the pages [start, end); calls come with ascending addresses. */
static uint64_t resident(struct walker *k, uint64_t start, uint64_t end)
{
	uint64_t sum = 0;

	while (start < end) {
		uint64_t to;

		if (start >= k->present_end &&
		    !peek_present(k->w->peek, start, (k->area->end + PAGE - 1) & -(uint64_t)PAGE,
		                  &k->present_start, &k->present_end))
			k->present_start = k->present_end = UINT64_MAX;
		if (start < k->present_start)
			start = k->present_start;
		to = end < k->present_end ? end : k->present_end;
		if (start < to)
			sum += to - start;
		start = to > start ? to : end;
	}
	return sum;
}

static void leave_page(struct walker *k)
{
	if (k->page_free && k->page_live && resident(k, k->page, k->page + PAGE)) {
		k->sum.pinned_free += k->page_free;
		k->sum.pinned_live += k->page_live;
	}
	k->page_free = k->page_live = 0;
}

/* Who has the bytes of each page? Whole pages of one kind pin nothing. */
static void account(struct walker *k, uint64_t start, uint64_t end, bool is_free)
{
	while (start < end) {
		uint64_t page = start & -(uint64_t)PAGE;
		uint64_t to = end < page + PAGE ? end : page + PAGE;

		if (page != k->page) {
			leave_page(k);
			k->page = page;
		}
		*(is_free ? &k->page_free : &k->page_live) += to - start;
		start = to;
		if (start + PAGE <= end && start % PAGE == 0)
			start = end & -(uint64_t)PAGE;
	}
}

/* mtrim(): the whole pages of a free chunk behind its links. */
static void end_run(struct walker *k, uint64_t end)
{
	uint64_t from = (k->run + CHUNK_STRUCT + PAGE - 1) & -(uint64_t)PAGE;
	uint64_t to = end & -(uint64_t)PAGE;

	if (k->run && from < to && end - from >= PAGE)
		k->sum.trim += resident(k, from, from + ((end - from) & -(uint64_t)PAGE));
	k->run = 0;
}

/* systrim(0): of the top chunk, with what is free in front of it. */
static void end_at_top(struct walker *k, uint64_t top, uint64_t bytes)
{
	uint64_t start = k->run ? k->run : top, end = top + bytes, size = end - start;
	uint64_t unit = k->w->trim_page ? k->w->trim_page : PAGE, extra;

	k->run = 0;
	k->sum.top += bytes;
	if (!k->w->trim_top || size <= MIN_CHUNK + 1)
		return;
	extra = (size - MIN_CHUNK - 1) & ~(unit - 1);
	if (extra && end % PAGE == 0)
		k->sum.trim += resident(k, end - extra, end);
}

static bool is_fast(struct walker *k, uint64_t at)
{
	const uint64_t *fast = k->w->fast;

	while (k->next_fast < k->w->n_fast && fast[k->next_fast] < at)
		k->next_fast++;
	return k->next_fast < k->w->n_fast && fast[k->next_fast] == at;
}

/* The header at @at has been read: the chunk before it is known now. */
static void finish_before(struct walker *k, uint64_t prev_size, bool in_use)
{
	struct glibc_walk_chunk *c = &k->before;

	if (!c->bytes)
		return;
	c->state = !in_use             ? GLIBC_WALK_FREE
	           : is_fast(k, c->at) ? GLIBC_WALK_FAST
	                               : GLIBC_WALK_USED;
	if (c->state == GLIBC_WALK_FREE) {
		k->sum.checked++;
		k->sum.inconsistent += prev_size != c->bytes;
	}
	k->sum.chunks++;
	k->sum.walked += c->bytes;
	*(c->state == GLIBC_WALK_FREE   ? &k->sum.free
	  : c->state == GLIBC_WALK_FAST ? &k->sum.fast
	                                : &k->sum.used) += c->bytes;
	if (c->state == GLIBC_WALK_USED)
		end_run(k, c->at);
	else if (!k->run)
		k->run = c->at;
	account(k, c->at, c->at + c->bytes, c->state != GLIBC_WALK_USED);
	if (k->w->visit && !k->w->visit(k->w->ctx, c))
		k->stopped = true;
	c->bytes = 0;
}

enum step { STEP_ON, STEP_END, STEP_BAD };

/* The fence at the end of an area that is not the arena's last: its last header
 * says 0 bytes (16 in the main arena), with one or two of 16 in front of it. */
static bool is_fence(const struct walker *k, uint64_t at, uint64_t size)
{
	return !k->area->has_top && at + 48 >= k->area->end && (size == 0 || size == 16);
}

static enum step step(struct walker *k, uint64_t at, const uint8_t *header)
{
	uint64_t prev_size, word, size;

	memcpy(&prev_size, header, 8);
	memcpy(&word, header + 8, 8);
	size = word & ~7ull;
	if (at == k->top || is_fence(k, at, size)) {
		finish_before(k, prev_size, word & GLIBC_WALK_PREV_INUSE);
		if (at == k->top && !k->stopped) {
			if (size > k->area->end - at)
				size = k->area->end - at;
			end_at_top(k, at, size);
			account(k, at, at + size, true);
			if (k->w->visit)
				k->w->visit(k->w->ctx,
				            &(struct glibc_walk_chunk){ at, size, GLIBC_WALK_TOP });
		}
		end_run(k, at);
		return STEP_END;
	}
	k->sum.checked++;
	if (size < MIN_CHUNK || size % 16 || size > k->area->end - at ||
	    (word & GLIBC_WALK_IS_MMAPPED))
		return STEP_BAD;
	finish_before(k, prev_size, word & GLIBC_WALK_PREV_INUSE);
	k->before = (struct glibc_walk_chunk){ .at = at, .bytes = size };
	return k->stopped ? STEP_END : STEP_ON;
}

/* One piece; *at moves to the first header behind it. */
static enum step walk_piece(struct walker *k, uint64_t *at, const uint8_t *buf, size_t len)
{
	uint64_t start = *at;

	while (*at - start + 16 <= len) {
		enum step s = step(k, *at, buf + (*at - start));

		if (s != STEP_ON)
			return s;
		*at += k->before.bytes;
	}
	return STEP_ON;
}

/* The top may have moved since it was read. */
static void refresh_top(struct walker *k)
{
	struct glibc_arena now = *k->w->arena;

	peek_forget(k->w->peek);
	if (glibc_arena_refresh(k->w->peek, k->w->maps, k->w->shift, &now))
		k->top = now.top;
}

int glibc_walk_area(const struct glibc_walk *w, const struct glibc_area *area,
                    struct glibc_walk_sum *sum, uint64_t *ret_end, struct error *err)
{
	struct walker k = { .w = w, .area = area, .sum = *sum, .top = w->arena->top }, saved;
	cleanup_free uint8_t *buf = malloc(WINDOW);
	unsigned retries = 0, here = 0;
	uint64_t at = area->first, piece;
	enum step s = STEP_ON;

	if (!buf)
		return error_oom(err);
	while (s == STEP_ON && at + 16 <= area->end && !w->peek->gone) {
		size_t len = area->end - at < WINDOW ? area->end - at : WINDOW;

		piece = at;
		saved = k;
		peek_fill(w->peek, at, buf, len);
		s = walk_piece(&k, &at, buf, len);
		if (s != STEP_BAD) {
			here = 0;
			continue;
		}
		if (here++ >= RETRIES || retries++ >= MAX_RETRIES) {
			k.sum.inconsistent++;
			break;
		}
		k = saved;
		at = piece;
		s = STEP_ON;
		refresh_top(&k);
	}
	leave_page(&k);
	*sum = k.sum;
	*ret_end = s == STEP_END ? area->end : at;
	return 0;
}
