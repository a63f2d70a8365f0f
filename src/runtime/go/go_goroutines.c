/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_goroutines.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/go/go_waiting.h"

enum { WORD = 8, MAX_GOROUTINES = 1 << 26 };
#define MAX_STACK (1ull << 31) /* proc.go, maxstackceiling */

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
static const struct image_thread *thread_of(const struct go_objects *o,
                                            const struct go_goroutine *g)
{
	const struct image_thread *best = NULL;

	for (size_t k = 0; k < image_n_threads(o->image); k++) {
		const struct image_thread *t = image_thread(o->image, k);

		if (t->sp >= g->low && t->sp < g->high && (!best || t->sp < best->sp))
			best = t;
	}
	return best;
}

static bool is_inside(const struct go_goroutine *g, uint64_t sp)
{
	return sp >= g->low && sp <= g->high;
}

/* False: its stack pointer cannot be. */
static bool find_top(const struct go_objects *o, const uint8_t *bytes, struct go_goroutine *g)
{
	const struct go_layout *l = o->module->layout;
	uint64_t sp = field(bytes, l->g_sched_sp), pc = field(bytes, l->g_sched_pc);
	uint64_t call_sp = field(bytes, l->g_syscallsp);

	g->thread = thread_of(o, g);
	g->sp = sp;
	g->pc = pc;
	g->frame_sp = sp;
	g->is_exact = pc == g->start_pc; /* not started yet */
	if (g->status == GO_STATUS_SYSCALL && call_sp && is_inside(g, call_sp)) {
		g->frame_sp = call_sp;
		g->pc = field(bytes, l->g_syscallpc);
		g->sp = is_inside(g, sp) && sp < call_sp ? sp : call_sp;
	}
	if (g->thread && g->thread->pc >= o->module->text && g->thread->pc < o->module->etext) {
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

static bool read_one(const struct go_objects *o, uint64_t at, struct go_goroutine *ret)
{
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
	return find_top(o, g, ret);
}

/* ---- the list ---- */

/* Do all of the @n at @list look like goroutines, and has one a stack? */
static bool is_list(const struct go_objects *o, uint64_t list, uint64_t n)
{
	bool with_stack = false;

	for (uint64_t i = 0; i < n; i++) {
		struct go_goroutine g;

		if (!read_one(o, word(o, list + i * WORD), &g))
			return false;
		with_stack |= g.high != 0;
	}
	return with_stack;
}

/* runtime.allgs by its shape: {pointer, length, capacity} whose elements all look like
 * goroutines. The longest wins. */
static uint64_t find_list(const struct go_objects *o, uint64_t *ret_n)
{
	uint64_t best = 0;

	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &o->module->data[k];

		for (uint64_t at = d->start; at + 3 * WORD <= d->end; at += WORD) {
			uint64_t list = word(o, at), n = word(o, at + WORD);
			uint64_t cap = word(o, at + 2 * WORD);
			size_t span;

			if (n < 2 || n > cap || cap > MAX_GOROUTINES || list % WORD ||
			    n <= *ret_n || go_objects_find(o, list, &span) == UINT32_MAX ||
			    !is_list(o, list, n))
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
	uint64_t all = 0, list = find_list(o, &all);
	struct go_goroutine *items = calloc(all + 1, sizeof(*items));
	uint64_t room = 0;

	if (!items)
		return error_oom(err);
	*n = 0;
	/* stacks do not overlap: of more bytes than are mapped something is wrong */
	for (size_t i = 0; i < image_n_segments(o->image); i++)
		room += image_segment(o->image, i)->end - image_segment(o->image, i)->start;
	for (uint64_t i = 0; i < all; i++) {
		struct go_goroutine *g = &items[*n];

		if (!read_one(o, word(o, list + i * WORD), g) || g->high - g->low > room)
			continue;
		room -= g->high ? g->high - g->low : 0;
		(*n)++;
	}
	*ret = items;
	return 0;
}
