/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jvm/jvm_heap.h"

enum { MAX_REGIONS = 1 << 20 };

/* A part of the heap between two pointers. */
static void add_space(struct jvm_heap *h, uint64_t bottom, uint64_t top)
{
	h->checked++;
	if (bottom < h->start || top < bottom || top > h->end)
		h->inconsistent++;
	else
		h->used += top - bottom;
}

/* G1: the table of regions covers the heap exactly. */
static bool read_g1(const struct jvm_structs *s, struct peek *p, struct jvm_heap *h)
{
	uint64_t grain = jvm_structs_static(s, p, "HeapRegion", "GrainBytes");
	uint64_t hrm = jvm_structs_field(s, h->object, "G1CollectedHeap", "_hrm");
	uint64_t table = jvm_structs_field(s, hrm, "HeapRegionManager", "_regions");
	uint64_t base = jvm_structs_value(s, p, table, "G1HeapRegionTable", "_base");
	uint64_t n = jvm_structs_value(s, p, table, "G1HeapRegionTable", "_length");

	if (!grain || !base || n > MAX_REGIONS || n * grain != h->end - h->start)
		return false;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t region = peek_word(p, base + 8 * i), tag;

		if (!region) /* never committed */
			continue;
		tag = jvm_structs_field(s, region, "HeapRegion", "_type");
		/* HeapRegionType::FreeTag is 0 */
		if (!tag || !(uint32_t)peek_word(p, tag))
			continue;
		add_space(h, jvm_structs_value(s, p, region, "HeapRegion", "_bottom"),
		          jvm_structs_value(s, p, region, "HeapRegion", "_top"));
	}
	h->collector = "G1";
	return true;
}

static bool is_part(const struct jvm_structs *s, struct peek *p, const struct jvm_heap *h,
                    uint64_t reserved)
{
	uint64_t start = jvm_structs_value(s, p, reserved, "MemRegion", "_start");
	uint64_t words = jvm_structs_value(s, p, reserved, "MemRegion", "_word_size");

	return words && start >= h->start && start < h->end && words <= (h->end - start) / 8;
}

static void add_mutable(const struct jvm_structs *s, struct peek *p, struct jvm_heap *h,
                        uint64_t space)
{
	add_space(h, jvm_structs_value(s, p, space, "MutableSpace", "_bottom"),
	          jvm_structs_value(s, p, space, "MutableSpace", "_top"));
}

static bool read_parallel(const struct jvm_structs *s, struct peek *p, struct jvm_heap *h)
{
	uint64_t young = jvm_structs_static(s, p, "ParallelScavengeHeap", "_young_gen");
	uint64_t old = jvm_structs_static(s, p, "ParallelScavengeHeap", "_old_gen");

	if (!young || !old ||
	    !is_part(s, p, h, jvm_structs_field(s, young, "PSYoungGen", "_reserved")) ||
	    !is_part(s, p, h, jvm_structs_field(s, old, "PSOldGen", "_reserved")))
		return false;
	/* GC.heap_info's used is eden, from and old; "to" is empty */
	add_mutable(s, p, h, jvm_structs_value(s, p, young, "PSYoungGen", "_eden_space"));
	add_mutable(s, p, h, jvm_structs_value(s, p, young, "PSYoungGen", "_from_space"));
	add_mutable(s, p, h, jvm_structs_value(s, p, old, "PSOldGen", "_object_space"));
	h->collector = "Parallel";
	return true;
}

static void add_contiguous(const struct jvm_structs *s, struct peek *p, struct jvm_heap *h,
                           uint64_t space)
{
	add_space(h, jvm_structs_value(s, p, space, "Space", "_bottom"),
	          jvm_structs_value(s, p, space, "ContiguousSpace", "_top"));
}

static bool read_serial(const struct jvm_structs *s, struct peek *p, struct jvm_heap *h)
{
	uint64_t young = jvm_structs_value(s, p, h->object, "GenCollectedHeap", "_young_gen");
	uint64_t old = jvm_structs_value(s, p, h->object, "GenCollectedHeap", "_old_gen");

	if (!young || !old ||
	    !is_part(s, p, h, jvm_structs_field(s, young, "Generation", "_reserved")) ||
	    !is_part(s, p, h, jvm_structs_field(s, old, "Generation", "_reserved")))
		return false;
	add_contiguous(s, p, h, jvm_structs_value(s, p, young, "DefNewGeneration", "_eden_space"));
	add_contiguous(s, p, h, jvm_structs_value(s, p, young, "DefNewGeneration", "_from_space"));
	add_contiguous(s, p, h, jvm_structs_value(s, p, old, "TenuredGeneration", "_the_space"));
	h->collector = "Serial";
	return true;
}

int jvm_heap_read(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                  struct jvm_heap *ret)
{
	struct jvm_heap h = { .object = jvm_structs_static(s, p, "Universe", "_collectedHeap"),
		              .collector = "" };
	uint64_t reserved = jvm_structs_field(s, h.object, "CollectedHeap", "_reserved");
	uint64_t words = jvm_structs_value(s, p, reserved, "MemRegion", "_word_size");

	h.start = jvm_structs_value(s, p, reserved, "MemRegion", "_start");
	if (!h.start || h.start % 4096 || !words || words % 512 || words > (1ull << 47) / 8 ||
	    !maps_find(m, h.start) || !maps_find(m, h.start + 8 * words - 1))
		return 0;
	h.end = h.start + 8 * words;
	h.checked = 1;
	if (!read_g1(s, p, &h) && !read_parallel(s, p, &h) && !read_serial(s, p, &h))
		h.used = -1;
	*ret = h;
	return 1;
}
