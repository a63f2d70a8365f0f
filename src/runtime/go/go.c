/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/go/go_allocs.h"
#include "runtime/go/go_graph.h"
#include "runtime/go/go_heap.h"
#include "runtime/go/go_report.h"
#include "runtime/peek.h"

static int label_regions(const struct runtime_view *v, const struct regions_input *in,
                         struct regions *to, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	struct regions_data d;
	int r = peek_open(&p, v->target, err);

	for (size_t pos = 0; r == 0 && regions_next_data(in->maps, v->target->exe, &pos, &d);) {
		uint64_t at = d.start;
		struct go_heap h;

		/* a second runtime in one module is none */
		r = go_heap_next(&p, in->maps, &d, &at, &h, err);
		if (r > 0)
			r = go_report_add(v, in, &p, &h, to, err);
	}
	return r;
}

/* Slots below freeindex are taken; behind it a bit says so (mspan.isFree). */
static bool is_taken(struct peek *p, const struct go_heap_span *s, uint64_t slot)
{
	uint8_t bits;

	return slot < s->free_index ||
	       (peek_read(p, s->bits + slot / 8, &bits, 1) && bits >> slot % 8 & 1);
}

static int describe_block(struct peek *p, const struct go_heap_span *s, uint64_t addr,
                          struct regions_block *ret)
{
	uint64_t slot;

	*ret = (struct regions_block){ .kind = REGIONS_GO,
		                       .start = s->start,
		                       .size = s->pages * GO_HEAP_PAGE,
		                       .state = REGIONS_BLOCK_LIVE };
	snprintf(ret->heap, sizeof(ret->heap), "Go heap");
	if (s->state == GO_HEAP_MANUAL) {
		snprintf(ret->detail, sizeof(ret->detail), "%s",
		         s->elemsize ? "span of goroutine stacks" : "collector's work buffers");
		return 1;
	}
	slot = (addr - s->start) / s->elemsize;
	if (s->state != GO_HEAP_IN_USE || slot >= s->n_elems) {
		ret->state = REGIONS_BLOCK_FREE;
		snprintf(ret->detail, sizeof(ret->detail), "free span");
		return 1;
	}
	ret->start += slot * s->elemsize;
	ret->size = s->elemsize;
	ret->state = is_taken(p, s, slot) ? REGIONS_BLOCK_LIVE : REGIONS_BLOCK_FREE;
	snprintf(ret->detail, sizeof(ret->detail), "%s, %s",
	         s->class_ >> 1 ? "size class" : "large object",
	         s->class_ & 1 ? "without pointers" : "with pointers");
	return 1;
}

static int find_block(const struct runtime_view *v, const struct regions_input *in, uint64_t addr,
                      struct regions_block *ret, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	struct regions_data d;
	int r = peek_open(&p, v->target, err);

	for (size_t pos = 0; r == 0 && regions_next_data(in->maps, v->target->exe, &pos, &d);) {
		struct go_heap_span s = { 0 };
		uint64_t at = d.start, record;
		struct go_heap h;

		r = go_heap_next(&p, in->maps, &d, &at, &h, err);
		if (r <= 0)
			continue;
		r = 0;
		record = go_heap_span_of(&p, &h, addr);
		/* the map keeps spans that have been freed since */
		if (record && go_heap_read_span(&p, &h, record, &s) > 0 && addr >= s.start &&
		    addr - s.start < s.pages * GO_HEAP_PAGE)
			return describe_block(&p, &s, addr, ret);
	}
	return r;
}

const struct runtime_ops go_runtime = {
	.name = "go",
	.title = "Go",
	.label_regions = label_regions,
	.find_block = find_block,
	.object_graph = go_graph_make,
	.heap_profile = go_allocs_profile,
};
