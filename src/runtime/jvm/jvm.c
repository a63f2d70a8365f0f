/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jvm/jvm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/jvm/jvm_areas.h"
#include "runtime/jvm/jvm_heap.h"
#include "runtime/jvm/jvm_structs.h"
#include "runtime/peek.h"

struct work {
	const struct jvm_structs *structs;
	const struct maps *maps;
	struct peek *peek;
	struct regions *to;
};

static void set_evidence(struct regions_heap *h, const struct jvm_structs *s, const char *fields)
{
	snprintf(h->evidence, sizeof(h->evidence), "gHotSpotVMStructs of libjvm (%zu fields): %s",
	         s->n_items, fields);
}

/* Of @start to @end: what can be written to. */
static uint64_t committed(const struct maps *m, uint64_t start, uint64_t end)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < m->n_items; i++) {
		const struct mapping *x = &m->items[i];
		uint64_t from = x->start > start ? x->start : start;
		uint64_t to = x->end < end ? x->end : end;

		if (from < to && (x->prot & MAPS_WRITE))
			bytes += to - from;
	}
	return bytes;
}

static int add_heap(struct work *w, const struct jvm_heap *h, struct error *err)
{
	struct regions_heap *row;
	uint32_t index;
	int r = regions_add_heap(w->to, REGIONS_JVM, &row, &index, err);

	if (r < 0)
		return r;
	snprintf(row->name, sizeof(row->name), "Java heap");
	snprintf(row->detail, sizeof(row->detail),
	         "%s%sobjects that the program no longer needs "
	         "are in use until the next collection",
	         h->collector, h->collector[0] ? " collector; " : "");
	set_evidence(row, w->structs, "Universe::_collectedHeap, CollectedHeap::_reserved");
	row->checked = h->checked;
	row->inconsistent = h->inconsistent;
	row->in_use_bytes = h->used;
	if (h->used < 0)
		snprintf(row->unknown_why, sizeof(row->unknown_why),
		         "size known, inside unknown: neither G1 nor Parallel nor Serial");
	regions_figure(row, "reserved_bytes", "reserved", h->end - h->start);
	regions_figure(row, "committed_bytes", "committed", committed(w->maps, h->start, h->end));
	return regions_add_anonymous(w->to, index, w->maps, h->start, h->end, REGIONS_PROVEN, NULL,
	                             err);
}

static int add_areas(struct work *w, const char *name, const char *fields, const char *detail,
                     const struct jvm_areas *a, struct error *err)
{
	size_t first = w->to->n_ranges;
	uint64_t reserved = 0, can_be = 0;
	struct regions_heap *row;
	uint32_t index;
	int r;

	if (!a->n_items)
		return 0;
	r = regions_add_heap(w->to, REGIONS_JVM, &row, &index, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < a->n_items; i++) {
		reserved += a->items[i].end - a->items[i].start;
		can_be += committed(w->maps, a->items[i].start, a->items[i].end);
	}
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->detail, sizeof(row->detail), "%s", detail);
	set_evidence(row, w->structs, fields);
	snprintf(row->unknown_why, sizeof(row->unknown_why),
	         "size known, inside unknown: HotSpot's counters of it are not in its table");
	row->checked = a->checked;
	row->inconsistent = a->inconsistent;
	regions_figure(row, "reserved_bytes", "reserved", reserved);
	regions_figure(row, "committed_bytes", "committed", can_be);
	if (a->klasses)
		regions_figure(row, "classes", "classes", a->klasses);
	for (size_t i = 0; i < a->n_items && r == 0; i++)
		r = regions_add_anonymous(w->to, index, w->maps, a->items[i].start, a->items[i].end,
		                          REGIONS_PROVEN, NULL, err);
	regions_join(w->to, first);
	return r;
}

static int add_all(struct work *w, struct error *err)
{
	cleanup(jvm_areas_clear) struct jvm_areas code = { 0 };
	cleanup(jvm_areas_clear) struct jvm_areas meta = { 0 };
	cleanup(jvm_areas_clear) struct jvm_areas tables = { 0 };
	const struct jvm_structs *s = w->structs;
	struct jvm_heap heap;
	int r = 0;

	if (jvm_heap_read(s, w->maps, w->peek, &heap)) {
		r = add_heap(w, &heap, err);
		if (r == 0)
			r = jvm_areas_collector(s, w->maps, w->peek, &heap, &tables, err);
	}
	if (r == 0)
		r = jvm_areas_code(s, w->maps, w->peek, &code, err);
	if (r == 0)
		r = jvm_areas_metaspace(s, w->maps, w->peek, &meta, err);
	if (r == 0)
		r = add_areas(w, "code cache", "CodeCache::_heaps",
		              "machine code of Java methods; -XX:ReservedCodeCacheSize", &code,
		              err);
	if (r == 0)
		r = add_areas(w, "metaspace", "CompressedKlassPointers, ClassLoaderDataGraph",
		              "class space and metadata; reserved by -XX:CompressedClassSpaceSize",
		              &meta, err);
	if (r == 0)
		r = add_areas(w, "collector's tables", "CardTable, G1CollectedHeap",
		              "card table, bitmaps, mark stack of the collector", &tables, err);
	return r;
}

static int label_regions(const struct runtime_view *v, const struct regions_input *in,
                         struct regions *to, struct error *err)
{
	cleanup(jvm_structs_clear) struct jvm_structs structs = { 0 };
	cleanup(peek_close) struct peek p = { 0 };
	struct work w = { &structs, in->maps, &p, to };
	int r = peek_open(&p, v->target, err);

	if (r == 0)
		r = jvm_structs_read(v, in->maps, &p, &structs, err);
	return r > 0 ? add_all(&w, err) : r;
}

const struct runtime_ops jvm_runtime = {
	.name = "jvm",
	.title = "Java",
	.label_regions = label_regions,
};
