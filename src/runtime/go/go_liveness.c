/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_liveness.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/search.h"
#include "runtime/go/go_machine.h"

enum {
	WORD = 8,
	MAP_HEAD = 8, /* symtab.go, stackmap: n, nbit int32; bytes */
	MAX_BITS = 1 << 20,
	MAX_OBJECTS = 1 << 12,
	OVERLAPS = 4, /* the compiler puts locals in one place that live one after the other */
	ROOM_LEAST = 1 << 16,
	/* stackObjectRecord (stack.go): off, size, ptrdata int32; then gcdataoff uint32, in 1.17
	 * gcdata, a pointer */
	OBJECT_BYTES = 16,
	OBJECT_BYTES_17 = 24,
};

static bool read_at(const struct go_frames *f, uint64_t at, void *to, size_t bytes)
{
	return image_read(f->module->image, at, to, bytes) == 0;
}

/* Bit of the word at @at in the bitmap of @map whose first bit is of @base, or whose last is of the
 * word before @end (@base 0): 1, 0, or -1: the word is outside. */
static int bit_of(const struct go_frames *f, uint64_t map, int32_t index, uint64_t base,
                  uint64_t end, uint64_t at)
{
	int32_t head[2];
	uint64_t n, bytes;
	uint8_t byte;

	if (!read_at(f, map, head, sizeof(head)) || head[1] < 0 || head[1] > MAX_BITS)
		return -1;
	index = index < 0 ? 0 : index;
	if (!base)
		base = end - (uint64_t)head[1] * WORD;
	n = (at - base) / WORD;
	if (at < base || n >= (uint64_t)head[1] || index >= head[0])
		return -1;
	bytes = ((uint64_t)head[1] + 7) / 8;
	if (!read_at(f, map + MAP_HEAD + (uint64_t)index * bytes + n / 8, &byte, 1))
		return 1;
	return byte >> n % 8 & 1;
}

/* Is it an argument of what frame @k has called? 1 alive, 0 dead, -1 none. */
static int argument(const struct go_frames *f, const struct go_frames_frame *k, uint64_t at)
{
	const struct go_frames_code *c = &f->codes[k->code];
	const uint64_t args = k->cfa + GO_MACHINE_TO_ARGS;

	if (c->args)
		return bit_of(f, c->args, c->map_index, args, 0, at);
	/* of one that gets them in registers it is room to put them; assembler has no maps */
	return !c->locals && at - args < c->args_bytes ? 1 : -1;
}

/* Behind the locals are the caller's frame pointer, if there is a frame, and the return address
 * where a call pushes it (stkframe.go; on arm64 the frame pointer below is the callee's). */
static uint64_t end_of_locals(const struct go_frames *f, const struct go_frames_frame *k)
{
	return k->cfa - GO_MACHINE_PUSHED - (f->codes[k->code].bytes ? WORD : 0);
}

/* By the maps alone; also where there are none: it stands where they do not hold, or is of
 * assembler. */
static bool is_in_maps(const struct go_frames *f, size_t frame, uint64_t at)
{
	const struct go_frames_frame *k = &f->frames[frame];
	const struct go_frames_code *c = &f->codes[k->code];

	return k->is_exact || !c->locals || (frame && argument(f, k - 1, at) == 1) ||
	       bit_of(f, c->locals, c->map_index, 0, end_of_locals(f, k), at) == 1;
}

/* ---- locals whose address is taken: the maps leave them out ---- */

void go_liveness_clear(struct go_liveness *l)
{
	free(l->objects);
	free(l->queue);
	*l = (struct go_liveness){ 0 };
}

static int add_objects(struct go_liveness *l, const struct go_frames_frame *k)
{
	const struct go_frames *f = l->frames;
	const uint64_t list = f->codes[k->code].objects;
	const uint64_t step = f->module->layout->minor >= 18 ? OBJECT_BYTES : OBJECT_BYTES_17;
	uint64_t n = 0;
	int r = 0;

	if (!list || !read_at(f, list, &n, sizeof(n)))
		return 0;
	for (uint64_t i = 0; r == 0 && i < n && i < MAX_OBJECTS && l->looks; i++) {
		int32_t head[2] = { 0 }; /* offset, bytes */
		uint64_t start, bytes;

		l->looks--;
		if (!read_at(f, list + WORD + i * step, head, sizeof(head)) || head[1] < 0)
			break;
		bytes = (uint64_t)head[1];
		/* from the arguments up, or from the locals' end down */
		start = (head[0] < 0 ? end_of_locals(f, k) : k->cfa + GO_MACHINE_TO_ARGS) +
		        (uint64_t)(int64_t)head[0];
		if (start < l->low || start >= l->high || bytes > l->high - start || !bytes ||
		    bytes > l->room)
			continue;
		l->room -= bytes;
		r = array_reserve(&l->objects, &l->cap, l->n + 1, l->err);
		if (r == 0)
			l->objects[l->n++] = (struct go_liveness_object){ start, start + bytes,
				                                          false };
	}
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct go_liveness_object *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static struct go_liveness_object *object_at(const struct go_liveness *l, uint64_t at)
{
	size_t behind = partition_point(l->n, i, l->objects[i].start <= at);

	return behind && at < l->objects[behind - 1].end ? &l->objects[behind - 1] : NULL;
}

static int mark(struct go_liveness *l, uint64_t value)
{
	struct go_liveness_object *o = object_at(l, value);
	int r;

	if (!o || o->is_alive)
		return 0;
	r = array_reserve(&l->queue, &l->cap_queue, l->n_queue + 1, l->err);
	if (r < 0)
		return r;
	o->is_alive = true;
	l->queue[l->n_queue++] = (size_t)(o - l->objects);
	return 0;
}

/* What is pointed to by a word that is alive, then by those objects. */
static int mark_all(struct go_liveness *l)
{
	const struct go_frames *f = l->frames;
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->n_frames; i++) {
		uint64_t at = f->frames[i].sp, value;

		for (; r == 0 && at < f->frames[i].cfa; at += WORD) {
			if (at >= l->low && read_at(f, at, &value, WORD) && value >= l->low &&
			    value < l->high && is_in_maps(f, i, at))
				r = mark(l, value);
		}
	}
	while (r == 0 && l->n_queue) {
		struct go_liveness_object o = l->objects[l->queue[--l->n_queue]];
		uint64_t value;

		for (uint64_t at = o.start; r == 0 && at + WORD <= o.end; at += WORD) {
			if (read_at(f, at, &value, WORD))
				r = mark(l, value);
		}
	}
	return r;
}

int go_liveness_find(struct go_liveness *l, const struct go_frames *f, const struct go_goroutine *g,
                     const struct go_slots *slots, struct error *err)
{
	int r = 0;

	l->n = l->n_queue = 0;
	l->frames = f;
	l->low = g->sp;
	l->high = g->high;
	l->room = l->looks = (g->high - g->sp) * OVERLAPS + ROOM_LEAST;
	l->err = err;
	for (size_t i = 0; r == 0 && i < f->n_frames; i++)
		r = add_objects(l, &f->frames[i]);
	if (r < 0 || !l->n)
		return r;
	qsort(l->objects, l->n, sizeof(*l->objects), by_start);
	for (size_t i = 0; r == 0 && i < slots->n_words; i++) {
		if (slots->words[i].is_used)
			r = mark(l, slots->words[i].at);
	}
	return r < 0 ? r : mark_all(l);
}

bool go_liveness_has(const struct go_liveness *l, size_t frame, uint64_t at)
{
	const struct go_liveness_object *o = object_at(l, at);

	return (o && o->is_alive) || is_in_maps(l->frames, frame, at);
}
