/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/tcmalloc/tcmalloc_label.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "runtime/tcmalloc/tcmalloc_heap.h"

enum { LEAF_BYTES = 8 << 18 };
#define NAME         "tcmalloc (gperftools)"
#define MIB          (1024.0 * 1024.0)
#define WORTH_SAYING (1ull << 20)

/* MallocExtension's figures (tcmalloc.cc, ExtractStats): what is neither free in
 * the page heap nor in a cache is in use; unusable ends of spans count as central. */
static int64_t in_use(const struct tcmalloc_heap *h)
{
	uint64_t given = h->large + h->small, cached = h->transfer + h->thread;

	return given > cached ? given - cached : 0;
}

static void add_figures(struct regions_heap *to, const struct tcmalloc_heap *h)
{
	to->in_use_bytes = in_use(h);
	to->cached_bytes = h->thread;
	if (!h->central || !h->n_caches) {
		to->in_use_bytes = to->cached_bytes = -1;
		snprintf(to->unknown_why, sizeof(to->unknown_why),
		         "size known, inside unknown: the %s were not found, so what they hold "
		         "can't be told from what is in use",
		         h->central ? "thread caches" : "central lists");
	}
	regions_figure(to, "heap_bytes", "from the system", h->heap);
	regions_figure(to, "pageheap_free_bytes", "free pages", h->free);
	regions_figure(to, "pageheap_unmapped_bytes", "given back", h->returned);
	regions_figure(to, "central_free_bytes", "central lists", h->central_free + h->tails);
	regions_figure(to, "span_tail_bytes", "unusable ends of spans", h->tails);
	regions_figure(to, "transfer_free_bytes", "transfer caches", h->transfer);
	regions_figure(to, "thread_free_bytes", "thread caches", h->thread);
	regions_figure(to, "caches", "thread caches", h->n_caches);
	regions_figure(to, "spans", "spans", h->n_spans);
	regions_figure(to, "large", "large blocks", h->n_large);
}

static int compare_words(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Pages that hold Span records. */
static int add_records(struct regions *to, uint32_t index, const struct tcmalloc_heap *h,
                       struct error *err)
{
	const uint64_t page = HEAP_MEMORY_PAGE;
	cleanup_free uint64_t *pages = malloc(h->n_spans * sizeof(*pages));
	int r = 0;

	if (!pages)
		return error_oom(err);
	for (size_t i = 0; i < h->n_spans; i++)
		pages[i] = h->spans[i].record / page * page;
	qsort(pages, h->n_spans, sizeof(*pages), compare_words);
	for (size_t i = 0, k; r == 0 && i < h->n_spans; i = k) {
		uint64_t end = pages[i] + page;

		for (k = i + 1; k < h->n_spans && pages[k] <= end; k++)
			end = pages[k] + page;
		r = regions_add_range(to, index, pages[i], end, REGIONS_PROVEN, err);
	}
	return r;
}

/* What ReleaseFreeMemory() would give back: pages of free spans that are there. */
static void add_release(struct heap_memory *m, struct regions_heap *to,
                        const struct tcmalloc_heap *h)
{
	uint64_t release = 0;

	for (size_t i = 0; i < h->n_spans; i++) {
		const struct tcmalloc_span *s = &h->spans[i];

		if (s->place == TCMALLOC_FREE)
			release += heap_memory_resident(m, s->start, s->start + s->size);
	}
	regions_figure(to, "release_bytes", "ReleaseFreeMemory", release);
}

/* [heap] belongs to who asks for it by sbrk: where spans are in it, the rest is
 * tcmalloc's metadata. */
static int add_brk(struct regions *to, uint32_t index, const struct tcmalloc_heap *h,
                   const struct maps *maps, struct error *err)
{
	for (size_t i = 0; i < maps->n_items; i++) {
		const struct mapping *m = &maps->items[i];
		size_t k = 0;
		int r;

		if (strcmp(m->name, "[heap]") != 0)
			continue;
		while (k < h->n_spans && h->spans[k].start < m->start)
			k++;
		if (k == h->n_spans || h->spans[k].start >= m->end)
			continue;
		r = regions_add_range(to, index, m->start, m->end, REGIONS_SHAPE, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_ranges(struct regions *to, uint32_t index, const struct tcmalloc_heap *h,
                      const struct maps *maps, struct error *err)
{
	int r = 0;

	for (size_t i = 0, k; r == 0 && i < h->n_spans; i = k) {
		uint64_t end = h->spans[i].start + h->spans[i].size;

		for (k = i + 1; k < h->n_spans && h->spans[k].start == end; k++)
			end += h->spans[k].size;
		r = regions_add_range(to, index, h->spans[i].start, end, REGIONS_PROVEN, err);
	}
	for (size_t i = 0; r == 0 && i < h->n_leaves; i++)
		r = regions_add_range(to, index, h->leaves[i], h->leaves[i] + LEAF_BYTES,
		                      REGIONS_PROVEN, err);
	if (r == 0)
		r = add_records(to, index, h, err);
	return r < 0 ? r : add_brk(to, index, h, maps, err);
}

static int add_findings(struct regions *to, const struct tcmalloc_heap *h, struct error *err)
{
	uint64_t caches = h->thread + h->transfer + h->central_free;
	struct regions_finding *f;
	int r = 0;

	if (h->free >= WORTH_SAYING) {
		r = regions_add_finding(to, "tcmalloc-free-pages", &f, err);
		if (r < 0)
			return r;
		f->bytes = h->free;
		snprintf(f->text, sizeof(f->text),
		         "tcmalloc keeps %.1f MiB of free pages that it has not given back",
		         h->free / MIB);
		snprintf(f->evidence, sizeof(f->evidence),
		         "spans on the normal free lists of the page heap");
		snprintf(f->remedy, sizeof(f->remedy),
		         "TCMALLOC_RELEASE_RATE=10, or MallocExtension::ReleaseFreeMemory()");
	}
	if (caches >= WORTH_SAYING && caches > h->heap / 5) {
		r = regions_add_finding(to, "tcmalloc-caches", &f, err);
		if (r < 0)
			return r;
		f->bytes = caches;
		snprintf(f->text, sizeof(f->text),
		         "%.1f MiB are free objects in tcmalloc's caches (%.0f %% of its heap)",
		         caches / MIB, 100.0 * caches / h->heap);
		snprintf(f->evidence, sizeof(f->evidence),
		         "thread caches %.1f, transfer caches %.1f, spans %.1f MiB",
		         h->thread / MIB, h->transfer / MIB, h->central_free / MIB);
		snprintf(f->remedy, sizeof(f->remedy),
		         "thread caches: TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES; what spans hold "
		         "is fragmentation");
	}
	return r;
}

static int add_heap(struct heap_memory *m, const struct regions_input *in,
                    const struct tcmalloc_heap *h, struct regions *to, struct error *err)
{
	struct regions_heap *heap;
	uint32_t index;
	int r = regions_add_heap(to, REGIONS_TCMALLOC, &heap, &index, err);

	if (r < 0)
		return r;
	snprintf(heap->name, sizeof(heap->name), NAME);
	snprintf(heap->detail, sizeof(heap->detail), "in %.100s, %zu thread cache%s",
	         path_base(h->data.file->name), h->n_caches, h->n_caches == 1 ? "" : "s");
	snprintf(heap->evidence, sizeof(heap->evidence),
	         "page map at 0x%" PRIx64 " in %.60s: %zu spans, %u size classes, %" PRIu64
	         " checks",
	         h->root, path_base(h->data.file->name), h->n_spans, h->n_classes - 1, h->checked);
	heap->checked = h->checked;
	heap->inconsistent = h->inconsistent;
	add_figures(heap, h);
	add_release(m, heap, h);
	r = add_ranges(to, index, h, in->maps, err);
	return r < 0 ? r : add_findings(to, h, err);
}

int tcmalloc_label_memory(struct heap_memory *m, const struct regions_input *in, const char *exe,
                          struct regions *to, struct error *err)
{
	struct regions_data d;

	for (size_t pos = 0; regions_next_data(in->maps, exe, &pos, &d);) {
		cleanup(tcmalloc_heap_clear) struct tcmalloc_heap h = { 0 };
		int r = tcmalloc_heap_read(m, in->maps, &d, &h, err);

		if (r > 0)
			r = add_heap(m, in, &h, to, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void fill_small(struct heap_memory *m, const struct tcmalloc_heap *h,
                       const struct tcmalloc_span *s, uint64_t addr, struct regions_block *ret)
{
	uint64_t bytes = h->class_bytes[s->size_class], index = (addr - s->start) / bytes;

	ret->start = s->start + index * bytes;
	ret->size = bytes;
	if (ret->start + bytes > s->start + s->size) {
		ret->size = s->start + s->size - ret->start;
		ret->state = REGIONS_BLOCK_FREE;
		snprintf(ret->detail, sizeof(ret->detail), "unusable end of a span");
		return;
	}
	switch (tcmalloc_heap_listed(m, h, s, ret->start)) {
	case 1: ret->state = REGIONS_BLOCK_FREE; break;
	case 2: ret->state = REGIONS_BLOCK_CACHED; break;
	default: ret->state = REGIONS_BLOCK_LIVE; break;
	}
	snprintf(ret->detail, sizeof(ret->detail), "size class %" PRIu64, bytes);
}

static void fill_block(struct heap_memory *m, const struct tcmalloc_heap *h,
                       const struct tcmalloc_span *s, uint64_t addr, struct regions_block *ret)
{
	*ret = (struct regions_block){ .kind = REGIONS_TCMALLOC,
		                       .start = s->start,
		                       .size = s->size,
		                       .state = REGIONS_BLOCK_FREE };
	snprintf(ret->heap, sizeof(ret->heap), NAME);
	if (s->place != TCMALLOC_IN_USE) {
		snprintf(ret->detail, sizeof(ret->detail), "%s pages",
		         s->place == TCMALLOC_FREE ? "free" : "given back");
	} else if (!s->size_class) {
		ret->state = REGIONS_BLOCK_LIVE;
		snprintf(ret->detail, sizeof(ret->detail), "large");
	} else {
		fill_small(m, h, s, addr, ret);
	}
}

int tcmalloc_label_find(struct heap_memory *m, const struct regions_input *in, const char *exe,
                        uint64_t addr, struct regions_block *ret, struct error *err)
{
	struct regions_data d;

	for (size_t pos = 0; regions_next_data(in->maps, exe, &pos, &d);) {
		cleanup(tcmalloc_heap_clear) struct tcmalloc_heap h = { 0 };
		const struct tcmalloc_span *s;
		int r = tcmalloc_heap_read(m, in->maps, &d, &h, err);

		if (r < 0)
			return r;
		s = r ? tcmalloc_heap_find(&h, addr) : NULL;
		if (!s)
			continue;
		fill_block(m, &h, s, addr, ret);
		return 1;
	}
	return 0;
}

int tcmalloc_label_regions(const struct runtime_view *v, const struct regions_input *in,
                           struct regions *to, struct error *err)
{
	cleanup(heap_memory_clear) struct heap_memory m = { .target = v->target };

	return tcmalloc_label_memory(&m, in, v->target->exe, to, err);
}

int tcmalloc_label_block(const struct runtime_view *v, const struct regions_input *in,
                         uint64_t addr, struct regions_block *ret, struct error *err)
{
	cleanup(heap_memory_clear) struct heap_memory m = { .target = v->target };

	return tcmalloc_label_find(&m, in, v->target->exe, addr, ret, err);
}
