/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jvm/jvm_areas.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"

enum {
	MAX_HEAPS = 16,
	MAX_LOADERS = 100000,
	MAX_KLASSES = 50000,
	MAX_FLAGS = 4096,
	PAGE = 4096,
	OBJECT_WORDS = 256, /* of G1CollectedHeap and what it points to */
};
#define ROOT_CHUNK (4ull << 20)  /* metaspace/chunklevel.hpp: MAX_CHUNK_BYTE_SIZE */
#define NODE       (64ull << 20) /* metaspace/metaspaceSettings.hpp: virtual space node */

void jvm_areas_clear(struct jvm_areas *a)
{
	free(a->items);
	*a = (struct jvm_areas){ 0 };
}

static bool has(const struct jvm_areas *a, uint64_t addr)
{
	for (size_t i = 0; i < a->n_items; i++)
		if (addr >= a->items[i].start && addr < a->items[i].end)
			return true;
	return false;
}

static int add(struct jvm_areas *to, uint64_t start, uint64_t end, struct error *err)
{
	int r = array_reserve(&to->items, &to->cap_items, to->n_items + 1, err);

	if (r == 0)
		to->items[to->n_items++] = (struct jvm_areas_range){ start, end };
	return r;
}

/* ---- code cache: CodeCache::_heaps, each with two VirtualSpaces ---- */

static int add_space(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                     uint64_t space, struct jvm_areas *to, struct error *err)
{
	uint64_t low = jvm_structs_value(s, p, space, "VirtualSpace", "_low_boundary");
	uint64_t high = jvm_structs_value(s, p, space, "VirtualSpace", "_high_boundary");

	to->checked++;
	if (low && low % PAGE == 0 && low < high && regions_is_anonymous(m, low, high))
		return add(to, low, high, err);
	to->inconsistent++;
	return 0;
}

int jvm_areas_code(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                   struct jvm_areas *ret, struct error *err)
{
	uint64_t list = jvm_structs_static(s, p, "CodeCache", "_heaps");
	uint64_t data = jvm_structs_value(s, p, list, "GrowableArray<int>", "_data");
	uint64_t len = jvm_structs_value(s, p, list, "GrowableArrayBase", "_len") & 0xffffffff;
	int r = 0;

	ret->used = -1;
	for (uint64_t i = 0; i < len && i < MAX_HEAPS && r == 0; i++) {
		uint64_t heap = peek_word(p, data + 8 * i);

		r = add_space(s, m, p, jvm_structs_field(s, heap, "CodeHeap", "_memory"), ret, err);
		if (r == 0)
			r = add_space(s, m, p, jvm_structs_field(s, heap, "CodeHeap", "_segmap"),
			              ret, err);
	}
	return r;
}

/* ---- metaspace ---- */

/* -XX flag @name of 8 bytes; 0 without it. */
static uint64_t flag(const struct jvm_structs *s, struct peek *p, const char *name)
{
	uint64_t flags = jvm_structs_static(s, p, "JVMFlag", "flags");
	uint64_t n = jvm_structs_static(s, p, "JVMFlag", "numFlags");
	uint64_t names = jvm_structs_field(s, flags, "JVMFlag", "_name");
	uint64_t values = jvm_structs_field(s, flags, "JVMFlag", "_addr");
	char text[64];

	/* its size is not told by this table: found by the distance of two that are known */
	for (unsigned size = 16; names && values && size <= 64; size += 8) {
		for (uint64_t i = 0; i < n && i < MAX_FLAGS; i++) {
			uint64_t at = peek_word(p, names + size * i);
			size_t len = strlen(name) + 1;

			if (!at || len > sizeof(text) || !peek_read(p, at, text, len))
				continue;
			if (memcmp(text, name, len) == 0)
				return peek_word(p, peek_word(p, values + size * i));
		}
	}
	return 0;
}

static bool starts_mapping(const struct maps *m, uint64_t addr)
{
	const struct mapping *x = maps_find(m, addr);

	return x && x->start == addr;
}

static bool ends_mapping(const struct maps *m, uint64_t addr)
{
	const struct mapping *x = maps_find(m, addr - 1);

	return x && x->end == addr;
}

/* The class space has the size that its flag says and both ends plain to see. It begins where the
 * archive's reservation ends, or, without archive, below any class (the base may be 0 then). */
static uint64_t find_class_space(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                                 uint64_t size)
{
	uint64_t base = jvm_structs_static(s, p, "CompressedKlassPointers", "_narrow_klass._base");
	uint64_t top = jvm_structs_static(s, p, "MetaspaceObj", "_shared_metaspace_top");
	uint64_t from = top > base ? top : base, to = from + (1ull << 30);

	if (!from) {
		uint64_t loader = jvm_structs_static(s, p, "ClassLoaderDataGraph", "_head");

		to = jvm_structs_value(s, p, loader, "ClassLoaderData", "_klasses");
		from = to > size ? to - size + 1 : 1;
	}
	for (size_t i = 0; i < m->n_items; i++) {
		uint64_t start = m->items[i].start;

		if (start >= from && start <= to && start % (1 << 20) == 0 &&
		    ends_mapping(m, start + size) && regions_is_anonymous(m, start, start + size))
			return start;
	}
	return 0;
}

/* Around @addr, which HotSpot uses as metaspace: its node when both ends are plain to see, else
 * only the root chunk: more may be somebody else's, glued to it. */
static int add_metadata(const struct maps *m, uint64_t addr, struct jvm_areas *to,
                        struct error *err)
{
	uint64_t chunk = addr / ROOT_CHUNK * ROOT_CHUNK;

	if (has(to, addr))
		return 0;
	to->checked++;
	for (uint64_t start = chunk; start > chunk - NODE && start <= chunk; start -= ROOT_CHUNK)
		if (starts_mapping(m, start) && ends_mapping(m, start + NODE) &&
		    regions_is_anonymous(m, start, start + NODE))
			return add(to, start, start + NODE, err);
	if (regions_is_anonymous(m, chunk, chunk + ROOT_CHUNK))
		return add(to, chunk, chunk + ROOT_CHUNK, err);
	to->inconsistent++;
	return 0;
}

struct klasses {
	const struct jvm_structs *s;
	const struct maps *maps;
	struct peek *peek;
	struct jvm_areas *to;
	uint64_t class_start, class_end, shared_start, shared_end;
};

/* A class's record is in the class space, its constants outside. */
static int add_klass(struct klasses *k, uint64_t klass, struct error *err)
{
	uint64_t constants = jvm_structs_value(k->s, k->peek, klass, "InstanceKlass", "_constants");
	int32_t layout = 0;
	uint64_t at = jvm_structs_field(k->s, klass, "Klass", "_layout_helper");
	int r = 0;

	k->to->klasses++;
	if (klass >= k->shared_start && klass < k->shared_end)
		return 0;
	if (k->class_end) {
		k->to->checked++;
		if (klass < k->class_start || klass >= k->class_end) {
			k->to->inconsistent++;
			return 0;
		}
	} else {
		r = add_metadata(k->maps, klass, k->to, err);
	}
	/* arrays have a negative layout helper and no constants */
	if (r < 0 || !at || !peek_read(k->peek, at, &layout, 4) || layout <= 0 || !constants ||
	    constants % 8 || (constants >= k->shared_start && constants < k->shared_end))
		return r;
	return add_metadata(k->maps, constants, k->to, err);
}

static int walk_klasses(struct klasses *k, struct error *err)
{
	uint64_t loader = jvm_structs_static(k->s, k->peek, "ClassLoaderDataGraph", "_head");
	int r = 0;

	for (unsigned i = 0; loader && i < MAX_LOADERS && r == 0; i++) {
		uint64_t klass = jvm_structs_value(k->s, k->peek, loader, "ClassLoaderData",
		                                   "_klasses");

		while (klass && r == 0 && k->to->klasses < MAX_KLASSES) {
			r = add_klass(k, klass, err);
			klass = jvm_structs_value(k->s, k->peek, klass, "Klass", "_next_link");
		}
		loader = jvm_structs_value(k->s, k->peek, loader, "ClassLoaderData", "_next");
	}
	return r;
}

int jvm_areas_metaspace(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                        struct jvm_areas *ret, struct error *err)
{
	uint64_t size = flag(s, p, "CompressedClassSpaceSize");
	struct klasses k = { .s = s, .maps = m, .peek = p, .to = ret };
	int r = 0;

	ret->used = -1;
	k.shared_start = jvm_structs_static(s, p, "MetaspaceObj", "_shared_metaspace_base");
	k.shared_end = jvm_structs_static(s, p, "MetaspaceObj", "_shared_metaspace_top");
	if (size && size % PAGE == 0 && size <= 4ull << 30)
		k.class_start = find_class_space(s, m, p, size);
	if (k.class_start) {
		k.class_end = k.class_start + size;
		r = add(ret, k.class_start, k.class_end, err);
		/* what the archive's reservation has left over */
		if (r == 0 && k.shared_end && k.shared_end % PAGE == 0 &&
		    k.shared_end < k.class_start &&
		    regions_is_anonymous(m, k.shared_end, k.class_start))
			r = add(ret, k.shared_end, k.class_start, err);
	}
	return r < 0 ? r : walk_klasses(&k, err);
}

/* ---- the collector's tables ---- */

static int add_card_table(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                          struct jvm_areas *to, struct error *err)
{
	uint64_t set = jvm_structs_static(s, p, "BarrierSet", "_barrier_set");
	uint64_t table = jvm_structs_value(s, p, set, "CardTableBarrierSet", "_card_table");
	uint64_t map = jvm_structs_value(s, p, table, "CardTable", "_byte_map");
	uint64_t size = jvm_structs_value(s, p, table, "CardTable", "_byte_map_size");

	if (!map || map % PAGE || !size || size > 1ull << 40)
		return 0;
	to->checked++;
	size = (size + PAGE - 1) / PAGE * PAGE;
	if (regions_is_anonymous(m, map, map + size))
		return add(to, map, map + size, err);
	to->inconsistent++;
	return 0;
}

/* An object of the collector: a first word that points into libjvm (its functions), and in it the
 * bounds of a reservation, the tail that is no page, the size of a page
 * (g1PageBasedVirtualSpace.hpp: _low_boundary, _high_boundary, _tail_size, _page_size). */
static int add_mapper(const struct jvm_structs *s, const struct maps *m, const struct jvm_heap *h,
                      const uint64_t *w, size_t n, bool *is_heap, struct jvm_areas *to,
                      struct error *err)
{
	if (w[0] < s->start || w[0] >= s->end)
		return 0;
	for (size_t i = 1; i + 3 < n; i++) {
		uint64_t page = w[i + 3];

		if (w[i] >= w[i + 1] || w[i] % PAGE || w[i + 1] % PAGE || page < PAGE ||
		    page & (page - 1) || page > 1 << 30 || w[i + 2] >= page)
			continue;
		if (w[i] == h->start && w[i + 1] == h->end) {
			*is_heap = true;
			return 0;
		}
		if (regions_is_anonymous(m, w[i], w[i + 1]) && !has(to, w[i]) &&
		    (w[i + 1] <= h->start || w[i] >= h->end))
			return add(to, w[i], w[i + 1], err);
	}
	return 0;
}

/* G1CMMarkStack: most chunks, base, chunks that are there (g1ConcurrentMark.hpp). A chunk has 1024
 * words; the numbers are those of two flags. */
static int add_mark_stack(const struct maps *m, const uint64_t *w, size_t n, uint64_t size,
                          uint64_t max, struct jvm_areas *to, struct error *err)
{
	for (size_t i = 1; i + 1 < n && size && max; i++) {
		uint64_t bytes = w[i + 1] << 13;

		if (!w[i] || w[i] % PAGE || w[i + 1] != size / 1024 || w[i - 1] != max / 1024 ||
		    has(to, w[i]) || !regions_is_anonymous(m, w[i], w[i] + bytes))
			continue;
		return add(to, w[i], w[i] + bytes, err);
	}
	return 0;
}

static int add_g1(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                  const struct jvm_heap *h, struct jvm_areas *to, struct error *err)
{
	uint64_t heap[OBJECT_WORDS], words[OBJECT_WORDS];
	uint64_t stack = flag(s, p, "MarkStackSize"), stack_max = flag(s, p, "MarkStackSizeMax");
	size_t before = to->n_items;
	bool is_heap = false;
	int r = 0;

	if (!peek_read(p, h->object, heap, sizeof(heap)))
		return 0;
	for (size_t i = 0; i < OBJECT_WORDS && r == 0; i++) {
		size_t n = OBJECT_WORDS;

		if (!heap[i] || heap[i] % 8 || !regions_is_anonymous(m, heap[i], heap[i] + 8))
			continue;
		while (n >= 16 && !peek_read(p, heap[i], words, 8 * n))
			n /= 2;
		if (n < 16)
			continue;
		r = add_mapper(s, m, h, words, n < 24 ? n : 24, &is_heap, to, err);
		if (r == 0)
			r = add_mark_stack(m, words, n, stack, stack_max, to, err);
	}
	/* proof: one of those objects is the heap's own */
	to->checked++;
	if (!is_heap) {
		to->inconsistent++;
		to->n_items = before;
	}
	return r;
}

int jvm_areas_collector(const struct jvm_structs *s, const struct maps *m, struct peek *p,
                        const struct jvm_heap *h, struct jvm_areas *ret, struct error *err)
{
	int r = add_card_table(s, m, p, ret, err);

	ret->used = -1;
	if (r == 0 && strcmp(h->collector, "G1") == 0)
		r = add_g1(s, m, p, h, ret, err);
	return r;
}
