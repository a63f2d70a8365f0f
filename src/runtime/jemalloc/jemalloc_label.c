/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_label.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "runtime/jemalloc/jemalloc_cache.h"
#include "runtime/module_data.h"

enum { MAX_HEAPS = 16 };
#define MIB          (1024.0 * 1024.0)
#define WORTH_SAYING (1ull << 20) /* findings below that are noise */

/* All trees of a process, each with its heap. */
struct heaps {
	struct jemalloc_heap items[MAX_HEAPS];
	size_t n;
};

static void heaps_clear(struct heaps *h)
{
	for (size_t i = 0; i < h->n; i++)
		jemalloc_heap_clear(&h->items[i]);
}

static int find_trees(struct heap_memory *m, const struct regions_input *in, const char *exe,
                      struct heaps *to)
{
	cleanup(jemalloc_rtree_search_clear) struct jemalloc_rtree_search search = {
		.m = m,
		.maps = in->maps,
	};
	struct regions_data d;

	for (size_t pos = 0; regions_next_data(in->maps, exe, &pos, &d);) {
		uint64_t at = d.start;

		module_data_cut(m, in->maps, &d);
		while (to->n < MAX_HEAPS) {
			int r = jemalloc_rtree_find(&search, &d, &at, &to->items[to->n].tree);

			if (r < 0)
				return r;
			if (!r)
				break;
			to->n++;
		}
	}
	return 0;
}

/* A tree whose records mostly contradict it is none. */
static bool is_sound(const struct jemalloc_heap *h)
{
	return h->n_extents && h->inconsistent < h->checked / 2;
}

static int read_all(struct heap_memory *m, const struct regions_input *in, const char *exe,
                    struct heaps *to, struct error *err)
{
	size_t n = 0;
	int r = find_trees(m, in, exe, to);

	if (r < 0)
		return error_sys(err, -r, "the data of the process's modules");
	for (size_t i = 0; i < to->n; i++) {
		r = jemalloc_heap_read(m, in->maps, &to->items[i], err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < to->n; i++) {
		struct jemalloc_heap h = to->items[i];

		if (is_sound(&h)) {
			to->items[n++] = h;
			continue;
		}
		jemalloc_heap_clear(&h);
	}
	to->n = n;
	for (size_t i = 0; r == 0 && i < to->n; i++)
		r = jemalloc_base_read(m, in->maps, &to->items[i], to->n == 1, err);
	return r;
}

static void add_figures(struct regions_heap *to, const struct jemalloc_heap *h)
{
	const struct jemalloc_sums *s = &h->sums;

	to->in_use_bytes = s->allocated;
	to->cached_bytes = h->caches ? (int64_t)h->cached_bytes : -1;
	regions_figure(to, "allocated_bytes", "allocated", s->allocated);
	regions_figure(to, "active_bytes", "active", s->active);
	regions_figure(to, "dirty_bytes", "dirty", s->dirty);
	regions_figure(to, "muzzy_bytes", "muzzy", s->muzzy);
	regions_figure(to, "retained_bytes", "retained", s->retained);
	regions_figure(to, "metadata_bytes", "metadata", h->base_bytes);
	regions_figure(to, "mapped_bytes", "mapped",
	               s->active + s->dirty + s->muzzy + h->base_bytes);
	regions_figure(to, "slab_free_bytes", "free in slabs", s->slab_free);
	regions_figure(to, "slabs", "slabs", s->slabs);
	regions_figure(to, "large", "large blocks", s->large);
	regions_figure(to, "extents", "extents", h->n_extents);
	regions_figure(to, "arenas", "arenas", h->n_arenas);
	regions_figure(to, "caches", "thread caches", h->caches);
	regions_figure(to, "cached_items", "blocks in thread caches", h->cached_items);
	if (s->passing)
		regions_figure(to, "changing_bytes", "being split or merged", s->passing);
}

/* What arena.4096.purge would give back: pages of dirty and muzzy extents that are there. */
static void add_purge(struct heap_memory *m, struct regions_heap *to, const struct jemalloc_heap *h)
{
	uint64_t purge = 0;

	for (size_t i = 0; i < h->n_extents; i++) {
		const struct jemalloc_extent *e = &h->extents[i];

		if (e->state == JEMALLOC_DIRTY || e->state == JEMALLOC_MUZZY)
			purge += heap_memory_resident(m, e->start, e->start + e->size);
	}
	regions_figure(to, "purge_bytes", "purge", purge);
}

static int add_ranges(struct regions *to, uint32_t index, const struct jemalloc_heap *h,
                      struct error *err)
{
	uint64_t start = 0, end = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < h->n_extents; i++) {
		const struct jemalloc_extent *e = &h->extents[i];

		if (end != e->start) {
			if (end > start)
				r = regions_add_range(to, index, start, end, REGIONS_PROVEN, err);
			start = e->start;
		}
		end = e->start + e->size;
	}
	if (r == 0 && end > start)
		r = regions_add_range(to, index, start, end, REGIONS_PROVEN, err);
	for (size_t i = 0; r == 0 && i < h->n_bases; i++)
		r = regions_add_range(to, index, h->bases[i].start,
		                      h->bases[i].start + h->bases[i].size,
		                      h->bases[i].known ? REGIONS_PROVEN : REGIONS_SHAPE, err);
	return r;
}

/* ---- findings: what was seen, from 1 MiB on ---- */

static int add_dirty(struct regions *to, const struct jemalloc_heap *h, struct error *err)
{
	uint64_t bytes = h->sums.dirty + h->sums.muzzy;
	struct regions_finding *f;
	int r;

	if (bytes < WORTH_SAYING)
		return 0;
	r = regions_add_finding(to, "jemalloc-dirty", &f, err);
	if (r < 0)
		return r;
	f->bytes = bytes;
	snprintf(f->text, sizeof(f->text),
	         "%s in %s keeps %.1f MiB of freed pages that were not given back yet",
	         h->tree.layout->name, path_base(h->tree.data.file->name), bytes / MIB);
	snprintf(f->evidence, sizeof(f->evidence),
	         "extents in the state dirty (%.1f MiB) and muzzy (%.1f MiB)", h->sums.dirty / MIB,
	         h->sums.muzzy / MIB);
	snprintf(f->remedy, sizeof(f->remedy),
	         "a shorter decay: MALLOC_CONF=dirty_decay_ms:1000,muzzy_decay_ms:0; "
	         "background_thread:true where no thread frees any more");
	return 0;
}

static int add_retained(struct regions *to, const struct jemalloc_heap *h, struct error *err)
{
	struct regions_finding *f;
	int r;

	if (h->sums.retained < WORTH_SAYING)
		return 0;
	r = regions_add_finding(to, "jemalloc-retained", &f, err);
	if (r < 0)
		return r;
	f->bytes = h->sums.retained;
	snprintf(f->text, sizeof(f->text),
	         "%.1f MiB that %s retains are addresses only, not memory", h->sums.retained / MIB,
	         h->tree.layout->name);
	snprintf(f->evidence, sizeof(f->evidence), "extents in the state retained");
	snprintf(f->remedy, sizeof(f->remedy),
	         "none is needed; MALLOC_CONF=retain:false unmaps them");
	return 0;
}

static int add_fragmentation(struct regions *to, const struct jemalloc_heap *h, struct error *err)
{
	uint64_t bytes = h->sums.slab_free;
	struct regions_finding *f;
	int r;

	if (bytes < WORTH_SAYING || bytes < h->sums.active / 10)
		return 0;
	r = regions_add_finding(to, "jemalloc-fragmentation", &f, err);
	if (r < 0)
		return r;
	f->bytes = bytes;
	snprintf(f->text, sizeof(f->text),
	         "%.1f MiB are free regions in slabs that other blocks keep in use (%.0f %% of "
	         "active)",
	         bytes / MIB, 100.0 * bytes / h->sums.active);
	snprintf(f->evidence, sizeof(f->evidence),
	         "%s: %" PRIu64 " slabs; active %.1f MiB, allocated %.1f MiB", h->tree.layout->name,
	         h->sums.slabs, h->sums.active / MIB, h->sums.allocated / MIB);
	return 0;
}

static int add_heap(struct heap_memory *m, const struct regions_input *in, struct jemalloc_heap *h,
                    struct regions *to, struct error *err)
{
	struct regions_heap *heap;
	uint32_t index;
	int r = jemalloc_cache_read(m, in, h, NULL, NULL, err);

	if (r == 0)
		r = regions_add_heap(to, REGIONS_JEMALLOC, &heap, &index, err);
	if (r < 0)
		return r;
	snprintf(heap->name, sizeof(heap->name), "%s", h->tree.layout->name);
	snprintf(heap->detail, sizeof(heap->detail), "in %.100s, %" PRIu64 " arena%s",
	         path_base(h->tree.data.file->name), h->n_arenas, h->n_arenas == 1 ? "" : "s");
	snprintf(heap->evidence, sizeof(heap->evidence),
	         "radix tree at 0x%" PRIx64 " in %.60s: %zu extents, %" PRIu64
	         " checks, layout of %s agrees",
	         h->tree.root, path_base(h->tree.data.file->name), h->n_extents, h->checked,
	         h->tree.layout->name + 9);
	heap->checked = h->checked;
	heap->inconsistent = h->inconsistent;
	add_figures(heap, h);
	add_purge(m, heap, h);
	r = add_ranges(to, index, h, err);
	if (r == 0)
		r = add_dirty(to, h, err);
	if (r == 0)
		r = add_retained(to, h, err);
	return r < 0 ? r : add_fragmentation(to, h, err);
}

int jemalloc_label_memory(struct heap_memory *m, const struct regions_input *in, const char *exe,
                          struct regions *to, struct error *err)
{
	cleanup(heaps_clear) struct heaps heaps = { 0 };
	int r = read_all(m, in, exe, &heaps, err);

	for (size_t i = 0; r == 0 && i < heaps.n; i++)
		r = add_heap(m, in, &heaps.items[i], to, err);
	return r;
}

struct wanted {
	uint64_t start, end;
	bool cached;
};

static void want(uint64_t item, void *arg)
{
	struct wanted *w = arg;

	w->cached |= item >= w->start && item < w->end;
}

/* The region of a slab around @addr, or the large block. */
static int fill_block(struct heap_memory *m, const struct regions_input *in,
                      struct jemalloc_heap *h, const struct jemalloc_extent *e, uint64_t addr,
                      struct regions_block *ret, struct error *err)
{
	static const char *const states[] = { "active",   "dirty",    "muzzy",
		                              "retained", "changing", "changing" };
	uint64_t bytes = jemalloc_layout_class_bytes(e->size_class), word = 0, index;
	struct wanted w = { 0 };
	int r;

	*ret = (struct regions_block){ .kind = REGIONS_JEMALLOC,
		                       .start = e->start,
		                       .size = e->size,
		                       .state = REGIONS_BLOCK_FREE };
	snprintf(ret->heap, sizeof(ret->heap), "%s, arena %u", h->tree.layout->name, e->arena);
	snprintf(ret->detail, sizeof(ret->detail), "%s pages", states[e->state]);
	if (e->state != JEMALLOC_ACTIVE)
		return 1;
	snprintf(ret->detail, sizeof(ret->detail), "size class %" PRIu64 "%s", bytes,
	         e->slab ? "" : ", large");
	if (e->slab) {
		index = (addr - e->start) / bytes;
		ret->start = e->start + index * bytes;
		ret->size = bytes;
		if (index >= 512 || (index + 1) * bytes > e->size) {
			ret->size = e->start + e->size - ret->start;
			snprintf(ret->detail, sizeof(ret->detail), "end of a slab");
			return 1;
		}
		heap_memory_read(m, e->record + 64 + index / 64 * 8, &word, sizeof(word));
		if (word >> index % 64 & 1)
			return 1;
	}
	w = (struct wanted){ ret->start, ret->start + ret->size, false };
	r = jemalloc_cache_read(m, in, h, want, &w, err);
	ret->state = w.cached ? REGIONS_BLOCK_CACHED : REGIONS_BLOCK_LIVE;
	return r < 0 ? r : 1;
}

int jemalloc_label_find(struct heap_memory *m, const struct regions_input *in, const char *exe,
                        uint64_t addr, struct regions_block *ret, struct error *err)
{
	cleanup(heaps_clear) struct heaps heaps = { 0 };
	struct regions_block block;
	int r = read_all(m, in, exe, &heaps, err);

	for (size_t i = 0; r == 0 && i < heaps.n; i++) {
		struct jemalloc_heap *h = &heaps.items[i];
		const struct jemalloc_extent *e = jemalloc_heap_find(h, addr);

		if (e)
			r = fill_block(m, in, h, e, addr, &block, err);
	}
	if (r > 0)
		*ret = block;
	return r;
}

int jemalloc_label_each(const struct runtime_view *v, const struct regions_input *in,
                        int (*each)(const struct jemalloc_heap *h, void *arg, struct error *err),
                        void *arg, struct error *err)
{
	cleanup(heap_memory_clear) struct heap_memory m = { .target = v->target };
	cleanup(heaps_clear) struct heaps heaps = { 0 };
	int r = read_all(&m, in, v->target->exe, &heaps, err);

	for (size_t i = 0; r == 0 && i < heaps.n; i++)
		r = each(&heaps.items[i], arg, err);
	return r;
}

int jemalloc_label_regions(const struct runtime_view *v, const struct regions_input *in,
                           struct regions *to, struct error *err)
{
	cleanup(heap_memory_clear) struct heap_memory m = { .target = v->target };

	return jemalloc_label_memory(&m, in, v->target->exe, to, err);
}

int jemalloc_label_block(const struct runtime_view *v, const struct regions_input *in,
                         uint64_t addr, struct regions_block *ret, struct error *err)
{
	cleanup(heap_memory_clear) struct heap_memory m = { .target = v->target };

	return jemalloc_label_find(&m, in, v->target->exe, addr, ret, err);
}
