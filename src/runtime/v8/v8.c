/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/v8/v8.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/peek.h"
#include "runtime/v8/v8_pages.h"

enum { LEAST_PAGES = 4 };

struct sums {
	uint64_t pages, bytes, large, code;
};

/* The range for code, which isolates share: its bytes are the first one's. */
struct range {
	uint64_t start, end;
};

static int add_pages(struct regions *to, uint32_t index, const struct maps *m,
                     const struct v8_pages *pages, uint64_t heap, const struct range *code,
                     struct sums *s, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < pages->n_items && r == 0; i++) {
		const struct v8_pages_page *page = &pages->items[i];
		uint64_t got = 0;

		if (page->heap != heap)
			continue;
		s->pages++;
		if (page->start >= code->start && page->start < code->end) {
			s->bytes += page->size;
			continue;
		}
		r = regions_add_anonymous(to, index, m, page->start, page->start + page->size,
		                          REGIONS_PROVEN, &got, err);
		s->bytes += got;
		s->large += page->large ? got : 0;
	}
	return r;
}

static void describe(struct regions_heap *h, const struct sums *s, uint64_t heap, size_t number)
{
	snprintf(h->name, sizeof(h->name), number ? "V8 heap %zu" : "V8 heap", number + 1);
	snprintf(h->detail, sizeof(h->detail), "JavaScript objects%s",
	         s->code ? " and the range reserved for machine code" : "");
	snprintf(h->evidence, sizeof(h->evidence),
	         "%" PRIu64
	         " pages whose headers name their own place, their space and the heap at "
	         "0x%" PRIx64,
	         s->pages, heap);
	snprintf(h->unknown_why, sizeof(h->unknown_why),
	         "size known, inside unknown: V8 counts in its spaces, whose layout is not known");
	h->checked = s->pages;
	regions_figure(h, "pages", "pages", s->pages);
	regions_figure(h, "page_bytes", "pages' bytes", s->bytes);
	regions_figure(h, "large_bytes", "of it large objects", s->large);
	if (s->code)
		regions_figure(h, "code_range_bytes", "reserved for code", s->code);
}

static int add_heap(struct peek *p, const struct regions_input *in, const struct v8_pages *pages,
                    const struct range *code, size_t number, struct regions *to, struct error *err)
{
	size_t first = to->n_ranges;
	struct sums s = { 0 };
	struct regions_heap *h;
	uint64_t heap = pages->heaps[number].at;
	uint32_t index;
	int r = regions_add_heap(to, REGIONS_V8, &h, &index, err);

	if (r == 0)
		r = add_pages(to, index, in->maps, pages, heap, code, &s, err);
	if (r == 0 && !number && code->end)
		r = regions_add_anonymous(to, index, in->maps, code->start, code->end,
		                          REGIONS_PROVEN, &s.code, err);
	if (r < 0)
		return r;
	regions_join(to, first);
	describe(&to->heaps[index], &s, heap, number);
	return 0;
}

static int label_regions(const struct runtime_view *v, const struct regions_input *in,
                         struct regions *to, struct error *err)
{
	cleanup(v8_pages_clear) struct v8_pages pages = { 0 };
	cleanup(peek_close) struct peek p = { 0 };
	struct range code = { 0 };
	int r = peek_open(&p, v->target, err);

	if (r == 0)
		r = v8_pages_find(&p, in->maps, LEAST_PAGES, &pages, err);
	for (size_t i = 0; i < pages.n_heaps && r == 0 && !code.end; i++)
		v8_pages_code_range(&p, in->maps, &pages, pages.heaps[i].at, &code.start,
		                    &code.end);
	for (size_t i = 0; i < pages.n_heaps && r == 0; i++)
		r = add_heap(&p, in, &pages, &code, i, to, err);
	return r;
}

const struct runtime_ops v8_runtime = {
	.name = "v8",
	.title = "V8",
	.label_regions = label_regions,
};
