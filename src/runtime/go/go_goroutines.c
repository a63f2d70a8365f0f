/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_goroutines.h"

#include <stdlib.h>
#include <string.h>

#include "base/search.h"
#include "runtime/go/go_waiting.h"

enum { WORD = 8, TRIES = 4, TRIES_LEAST = 1 << 16 };
#define MAX_STACK (1ull << 31) /* proc.go, maxstackceiling */

struct reading {
	const struct go_objects *o;
	const struct image_thread **by_sp; /* owned */
	size_t n_threads;
	uint64_t left; /* goroutines that may be looked at, in all lists that are tried */
};

static uint64_t word(const struct go_objects *o, uint64_t at)
{
	return image_uint64(o->image, at);
}

static uint64_t field(const uint8_t *g, uint32_t at)
{
	uint64_t v;

	memcpy(&v, g + at, sizeof(v));
	return v;
}

/* ---- where its stack begins ---- */

/* The thread that stands deepest on the stack; NULL: none. */
static const struct image_thread *thread_of(const struct reading *r, const struct go_goroutine *g)
{
	size_t k = partition_point(r->n_threads, i, r->by_sp[i]->sp < g->low);

	return k < r->n_threads && r->by_sp[k]->sp < g->high ? r->by_sp[k] : NULL;
}

static int by_sp(const void *a, const void *b)
{
	const struct image_thread *x = *(const struct image_thread *const *)a,
				  *y = *(const struct image_thread *const *)b;

	if (x->sp != y->sp)
		return x->sp < y->sp ? -1 : 1;
	return x < y ? -1 : x > y; /* the first that the image has */
}

static int order_threads(struct reading *r, struct error *err)
{
	r->n_threads = image_n_threads(r->o->image);
	r->by_sp = calloc(r->n_threads + 1, sizeof(*r->by_sp));
	if (!r->by_sp)
		return error_oom(err);
	for (size_t k = 0; k < r->n_threads; k++)
		r->by_sp[k] = image_thread(r->o->image, k);
	if (r->n_threads)
		qsort(r->by_sp, r->n_threads, sizeof(*r->by_sp), by_sp);
	return 0;
}

static bool is_inside(const struct go_goroutine *g, uint64_t sp)
{
	return sp >= g->low && sp <= g->high;
}

/* False: its stack pointer cannot be. */
static bool find_top(const struct reading *r, const uint8_t *bytes, struct go_goroutine *g)
{
	const struct go_module *m = r->o->module;
	const struct go_layout *l = m->layout;
	uint64_t sp = field(bytes, l->g_sched_sp), pc = field(bytes, l->g_sched_pc);
	uint64_t call_sp = field(bytes, l->g_syscallsp);

	g->thread = thread_of(r, g);
	g->sp = sp;
	g->pc = pc;
	g->frame_sp = sp;
	g->is_exact = pc == g->start_pc; /* not started yet */
	if (g->status == GO_STATUS_SYSCALL && call_sp && is_inside(g, call_sp)) {
		g->frame_sp = call_sp;
		g->pc = field(bytes, l->g_syscallpc);
		g->sp = is_inside(g, sp) && sp < call_sp ? sp : call_sp;
	}
	if (g->thread && g->thread->pc >= m->text && g->thread->pc < m->etext) {
		g->frame_sp = g->sp = g->thread->sp;
		g->pc = g->thread->pc;
		g->is_exact = true;
	} else if (g->thread && (!is_inside(g, g->sp) || g->thread->sp < g->sp)) {
		g->sp = g->thread->sp;
	}
	if (is_inside(g, g->sp))
		return true;
	/* it runs and nobody tells where (gogo() clears sched.sp): all of its stack */
	g->sp = g->low;
	g->pc = 0;
	return g->status == GO_STATUS_RUNNING;
}

/* A stack lies in an arena: in one mapping, or in some that touch. */
static bool is_mapped(const struct go_objects *o, uint64_t low, uint64_t high)
{
	const struct image_segment *s = NULL;

	for (uint64_t at = low; at < high; at = s->end) {
		s = image_find(o->image, at);
		if (!s)
			return false;
	}
	return true;
}

static bool read_one(const struct reading *r, uint64_t at, struct go_goroutine *ret)
{
	const struct go_objects *o = r->o;
	const struct go_layout *l = o->module->layout;
	const uint8_t *g = at % WORD ? NULL : image_at(o->image, at, l->g_bytes);
	uint64_t by;

	if (!g)
		return false;
	*ret = (struct go_goroutine){
		.at = at,
		.low = field(g, l->g_stack),
		.high = field(g, l->g_stack + WORD),
		.start_pc = field(g, l->g_startpc),
		.status = (uint32_t)field(g, l->g_status) & GO_STATUS_MASK,
		.reason = g[l->g_waitreason],
	};
	by = field(g, l->g_gopc);
	ret->creator = by ? by - 1 : 0;
	if (ret->status > GO_STATUS_LAST || ret->high < ret->low ||
	    ret->high - ret->low > MAX_STACK || !is_mapped(o, ret->low, ret->high))
		return false;
	if (ret->status == GO_STATUS_DEAD || !ret->low) {
		ret->low = ret->high = 0;
		return true;
	}
	return find_top(r, g, ret);
}

/* ---- the list ---- */

/* Do all of the @n at @list look like goroutines, and has one a stack? */
static bool is_list(struct reading *r, uint64_t list, uint64_t n)
{
	bool with_stack = false;

	for (uint64_t i = 0; i < n; i++) {
		struct go_goroutine g;

		if (!r->left || !read_one(r, word(r->o, list + i * WORD), &g))
			return false;
		r->left--;
		with_stack |= g.high != 0;
	}
	return with_stack;
}

/* Words of the object at @addr from there on. */
static uint64_t words_from(const struct go_objects *o, uint64_t addr)
{
	const struct go_objects_span *s;
	size_t span;
	uint32_t slot = go_objects_find(o, addr, &span);

	if (slot == UINT32_MAX)
		return 0;
	s = &o->spans[span];
	return (go_objects_address(s, slot) + s->elemsize - addr) / WORD;
}

/* runtime.allgs by its shape: {pointer, length, capacity} whose elements all look like
 * goroutines. The longest wins. */
static uint64_t find_list(struct reading *r, uint64_t *ret_n)
{
	const struct go_objects *o = r->o;
	uint64_t best = 0;

	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &o->module->data[k];

		for (uint64_t at = d->start; at + 3 * WORD <= d->end; at += WORD) {
			uint64_t list = word(o, at), n = word(o, at + WORD);
			uint64_t cap = word(o, at + 2 * WORD);

			if (n < 2 || n > cap || list % WORD || n <= *ret_n ||
			    cap > words_from(o, list) || !is_list(r, list, n))
				continue;
			best = list;
			*ret_n = n;
		}
	}
	return best;
}

int go_goroutines_read(struct go_objects *o, struct go_goroutine **ret, size_t *n,
                       struct error *err)
{
	struct reading r = { .o = o, .left = TRIES * o->taken_objects + TRIES_LEAST };
	uint64_t all = 0, list, room = 0;
	struct go_goroutine *items;
	int e = order_threads(&r, err);

	if (e < 0)
		return e;
	list = find_list(&r, &all);
	items = calloc(all + 1, sizeof(*items));
	if (!items) {
		free(r.by_sp);
		return error_oom(err);
	}
	*n = 0;
	/* stacks do not overlap: of more bytes than are mapped something is wrong */
	for (size_t i = 0; i < image_n_segments(o->image); i++)
		room += image_segment(o->image, i)->end - image_segment(o->image, i)->start;
	for (uint64_t i = 0; i < all; i++) {
		struct go_goroutine *g = &items[*n];

		if (!read_one(&r, word(o, list + i * WORD), g) || g->high - g->low > room)
			continue;
		room -= g->high ? g->high - g->low : 0;
		(*n)++;
	}
	free(r.by_sp);
	*ret = items;
	return 0;
}
