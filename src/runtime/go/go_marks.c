/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_marks.h"

#include "runtime/go/go_chain.h"

enum { PIECE_BYTES = 1024, MAX_INLINE = 512, SPECIAL_BYTES = 16 /* at least */ };

/* sweepgen of a span against the heap's: -2 to be swept, -1 being swept, 0 swept, +1 to be swept
 * and a P has it, +3 swept and a P has it. */
static uint64_t bits_of(struct go_objects *o, const struct go_heap_span *s,
                        const struct go_objects_span *x, uint32_t heap_gen)
{
	uint32_t gen = image_uint32(o->image, s->at + o->module->layout->mspan_sweepgen);
	int32_t off = (int32_t)(gen - heap_gen);

	if (off == 0 || off == 3)
		return s->bits;
	if (s->elemsize <= MAX_INLINE && go_objects_has_inline_marks(o, x))
		return x->end - GO_OBJECTS_INLINE_MARKS + GO_OBJECTS_INLINE_MARKS_AT;
	return s->mark_bits;
}

static void count_piece(const struct go_heap_span *s, const uint8_t *bits, uint64_t n,
                        const uint32_t *node, struct go_marks *ret)
{
	for (uint64_t i = 0; i < n; i++) {
		if (!(bits[i / 8] >> i % 8 & 1))
			continue;
		ret->marked_bytes += s->elemsize;
		if (node[i] != UINT32_MAX)
			ret->reached_bytes += s->elemsize;
	}
}

static void count_span(struct go_objects *o, const struct go_heap_span *s, uint64_t at,
                       const uint32_t *node, struct go_marks *ret)
{

	for (uint64_t first = 0; first < s->n_elems; first += PIECE_BYTES * 8) {
		uint64_t n = s->n_elems - first;
		uint8_t bits[PIECE_BYTES];

		if (n > PIECE_BYTES * 8)
			n = PIECE_BYTES * 8;
		if (image_read(o->image, at + first / 8, bits, (n + 7) / 8) < 0) {
			ret->unreadable++;
			return;
		}
		count_piece(s, bits, n, node + first, ret);
	}
}

static uint64_t finalized_bytes(struct go_objects *o, const struct go_objects_span *s,
                                uint64_t *left)
{
	const struct go_layout *l = o->module->layout;
	struct go_chain chain = { .left = left };
	uint64_t sum = 0;

	for (uint64_t at = s->specials; go_chain_goes_on(&chain, at);
	     at = image_uint64(o->image, at + l->special_next)) {
		uint8_t kind;

		if (image_read(o->image, at + l->special_kind, &kind, 1) == 0 &&
		    kind == l->special_finalizer)
			sum += s->elemsize;
	}
	return sum;
}

void go_marks_count(struct go_objects *o, const uint32_t *node, struct go_marks *ret)
{
	const struct go_layout *l = o->module->layout;
	/* mheap_, by its list of spans */
	uint64_t heap = o->heap.all_spans - l->mheap_allspans;
	uint32_t heap_gen = image_uint32(o->image, heap + l->mheap_sweepgen);
	uint64_t left = o->readable / SPECIAL_BYTES;

	*ret = (struct go_marks){ 0 };
	for (size_t i = 0; i < o->n_spans; i++)
		ret->finalized_bytes += finalized_bytes(o, &o->spans[i], &left);
	for (uint64_t i = 0; i < o->heap.n_spans; i++) {
		uint64_t at = image_uint64(o->image, o->heap.spans + 8 * i);
		struct go_heap_span s = { 0 };
		size_t span;

		/* overlapping ones were left out: see order_spans() */
		if (go_heap_read_span(&o->peek, &o->heap, at, &s) > 0 &&
		    s.state == GO_HEAP_IN_USE && go_objects_find(o, s.start, &span) != UINT32_MAX &&
		    o->spans[span].start == s.start && o->spans[span].n == s.n_elems)
			count_span(o, &s, bits_of(o, &s, &o->spans[span], heap_gen),
			           node + o->spans[span].first, ret);
	}
}
