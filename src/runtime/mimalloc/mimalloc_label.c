/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/mimalloc/mimalloc_label.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/mimalloc/mimalloc_heap.h"

enum { OWNER_BYTES = 8192 }; /* mi_thread_data_t (a mi_heap_t and a mi_tld_t), whole pages */
#define NAME         "mimalloc 2"
#define MIB          (1024.0 * 1024.0)
#define WORTH_SAYING (1ull << 20)

static void add_figures(struct regions_heap *to, const struct mimalloc_heap *h)
{
	to->in_use_bytes = h->used > h->foreign_free ? h->used - h->foreign_free : 0;
	regions_figure(to, "used_bytes", "counted as used", h->used);
	regions_figure(to, "foreign_free_bytes", "freed by other threads", h->foreign_free);
	regions_figure(to, "page_bytes", "pages of blocks", h->page_bytes);
	regions_figure(to, "segment_bytes", "segments", h->segment_bytes);
	regions_figure(to, "segments", "segments", h->n_segments);
	regions_figure(to, "abandoned", "segments without thread", h->abandoned);
	regions_figure(to, "pages", "pages of blocks", h->n_pages);
	regions_figure(to, "blocks", "blocks", h->n_used - h->n_foreign);
	regions_figure(to, "heaps", "heaps", h->n_owners);
}

/* What mi_collect(true) in every thread would give back: segments without any block in use. Of
 * the others what is not in use stays until pages are next made or freed there (2.0.9,
 * src/segment.c, mi_segment_delayed_decommit()). */
static void add_collect(struct heap_memory *m, struct regions_heap *to,
                        const struct mimalloc_heap *h)
{
	uint64_t collect = 0, idle = 0;
	size_t k = 0;

	for (size_t i = 0; i < h->n_segments; i++) {
		const struct mimalloc_segment *s = &h->segments[i];
		uint64_t kept = 0, header = (uint64_t)s->first * MIMALLOC_HEAP_SLICE;
		uint64_t all = heap_memory_resident(m, s->start, s->start + s->size);

		for (; k < h->n_pages && h->pages[k].start < s->start + s->size; k++) {
			const struct mimalloc_page *p = &h->pages[k];

			if (p->used > p->foreign)
				kept += heap_memory_resident(m, p->start, p->start + p->size);
		}
		if (kept)
			kept += heap_memory_resident(m, s->start, s->start + header);
		if (all > kept) /* it may change between the looks */
			*(kept ? &idle : &collect) += all - kept;
	}
	regions_figure(to, "collect_bytes", "mi_collect", collect);
	regions_figure(to, "idle_bytes", "idle beside blocks", idle);
}

static bool is_data(const struct maps *maps, const char *exe, uint64_t addr)
{
	struct regions_data d;

	for (size_t pos = 0; regions_next_data(maps, exe, &pos, &d);)
		if (addr >= d.start && addr < d.end)
			return true;
	return false;
}

/* Records of threads' heaps have mappings of their own, but the first one's. */
static int add_owners(struct regions *to, uint32_t index, const struct mimalloc_heap *h,
                      const struct maps *maps, const char *exe, struct error *err)
{
	const uint64_t page = HEAP_MEMORY_PAGE;

	for (size_t i = 0; i < h->n_owners; i++) {
		const struct mapping *map = maps_find(maps, h->owners[i]);
		uint64_t start = h->owners[i] / page * page;
		uint64_t end = (h->owners[i] + OWNER_BYTES + page - 1) / page * page;
		int r;

		if (!map || map->inode || map->name[0] || mimalloc_heap_find(h, start) ||
		    is_data(maps, exe, start))
			continue;
		end = end < map->end ? end : map->end;
		r = regions_add_range(to, index, start, end, REGIONS_SHAPE, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* From 2.1 on segments come from arenas of 1 GiB: the rest of a mapping that begins
 * with a segment is for further ones. */
static int add_arenas(struct regions *to, uint32_t index, const struct mimalloc_heap *h,
                      const struct maps *maps, struct error *err)
{
	for (size_t i = 0; i < h->n_segments; i++) {
		const struct mapping *map = maps_find(maps, h->segments[i].start);
		int r;

		if (!map || map->start != h->segments[i].start ||
		    map->end <= map->start + h->segments[i].size)
			continue;
		r = regions_add_range(to, index, map->start + h->segments[i].size, map->end,
		                      REGIONS_SHAPE, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_ranges(struct regions *to, uint32_t index, const struct mimalloc_heap *h,
                      const struct maps *maps, const char *exe, struct error *err)
{
	int r = 0;

	for (size_t i = 0, k; r == 0 && i < h->n_segments; i = k) {
		uint64_t end = h->segments[i].start + h->segments[i].size;

		for (k = i + 1; k < h->n_segments && h->segments[k].start == end; k++)
			end += h->segments[k].size;
		r = regions_add_range(to, index, h->segments[i].start, end, REGIONS_PROVEN, err);
	}
	if (r == 0)
		r = add_arenas(to, index, h, maps, err);
	return r < 0 ? r : add_owners(to, index, h, maps, exe, err);
}

static int add_finding(struct regions *to, const struct mimalloc_heap *h, struct error *err)
{
	struct regions_finding *f;
	int r;

	if (h->foreign_free < WORTH_SAYING || h->foreign_free < h->used / 20)
		return 0;
	r = regions_add_finding(to, "mimalloc-foreign-frees", &f, err);
	if (r < 0)
		return r;
	f->bytes = h->foreign_free;
	snprintf(f->text, sizeof(f->text),
	         "%.1f MiB were freed by other threads than the one that allocated them, and "
	         "wait for it",
	         h->foreign_free / MIB);
	snprintf(f->evidence, sizeof(f->evidence),
	         "%" PRIu64 " blocks on the pages' thread_free lists and the heaps' delayed lists",
	         h->n_foreign);
	snprintf(f->remedy, sizeof(f->remedy),
	         "they come back when the owner allocates again; mi_collect() in that thread");
	return 0;
}

int mimalloc_label_memory(struct heap_memory *m, const struct regions_input *in, const char *exe,
                          struct regions *to, struct error *err)
{
	cleanup(mimalloc_heap_clear) struct mimalloc_heap h = { 0 };
	struct regions_heap *heap;
	uint32_t index;
	int r = mimalloc_heap_read(m, in->maps, &h, err);

	if (r < 0 || !h.n_pages || h.inconsistent > h.checked / 2)
		return r;
	r = regions_add_heap(to, REGIONS_MIMALLOC, &heap, &index, err);
	if (r < 0)
		return r;
	snprintf(heap->name, sizeof(heap->name), NAME);
	snprintf(heap->detail, sizeof(heap->detail), "%zu segment%s, %zu heap%s", h.n_segments,
	         h.n_segments == 1 ? "" : "s", h.n_owners, h.n_owners == 1 ? "" : "s");
	snprintf(heap->evidence, sizeof(heap->evidence),
	         "%zu segments aligned to %d MiB with one cookie, their tables of %zu pages add "
	         "up, %" PRIu64 " checks, layout of %s",
	         h.n_segments, (int)(h.layout->segment >> 20), h.n_pages, h.checked,
	         h.layout->name);
	heap->checked = h.checked;
	heap->inconsistent = h.inconsistent;
	add_figures(heap, &h);
	add_collect(m, heap, &h);
	r = add_ranges(to, index, &h, in->maps, exe, err);
	return r < 0 ? r : add_finding(to, &h, err);
}

int mimalloc_label_find(struct heap_memory *m, const struct regions_input *in, uint64_t addr,
                        struct regions_block *ret, struct error *err)
{
	cleanup(mimalloc_heap_clear) struct mimalloc_heap h = { 0 };
	const struct mimalloc_page *p;
	uint64_t first;
	int r = mimalloc_heap_read(m, in->maps, &h, err);

	if (r < 0)
		return r;
	p = mimalloc_heap_find(&h, addr);
	if (!p)
		return 0;
	first = mimalloc_heap_first(&h, p);
	if (addr < first)
		return 0;
	*ret = (struct regions_block){ .kind = REGIONS_MIMALLOC, .size = p->block_bytes };
	ret->start = first + (addr - first) / p->block_bytes * p->block_bytes;
	ret->state = mimalloc_heap_is_free(m, &h, p, ret->start) ? REGIONS_BLOCK_FREE
	                                                         : REGIONS_BLOCK_LIVE;
	snprintf(ret->heap, sizeof(ret->heap), NAME);
	snprintf(ret->detail, sizeof(ret->detail), "block size %" PRIu64, p->block_bytes);
	return 1;
}

int mimalloc_label_regions(const struct runtime_view *v, const struct regions_input *in,
                           struct regions *to, struct error *err)
{
	cleanup(heap_memory_clear) struct heap_memory m = { .target = v->target };

	return mimalloc_label_memory(&m, in, v->target->exe, to, err);
}

int mimalloc_label_block(const struct runtime_view *v, const struct regions_input *in,
                         uint64_t addr, struct regions_block *ret, struct error *err)
{
	cleanup(heap_memory_clear) struct heap_memory m = { .target = v->target };

	return mimalloc_label_find(&m, in, addr, ret, err);
}
