/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "target/maps.h"

enum {
	WORD = 8,
	PAGE = 4096,
	HEADER_LEAST = 512, /* minSizeForMallocHeader (1.22+): larger ones have one */
	INLINE_MARKS = GO_OBJECTS_INLINE_MARKS,
	KIND_GC_PROG = 1 << 6,    /* abi.Type.Kind_, up to 1.23 */
	TFLAG_ON_DEMAND = 1 << 4, /* 1.24+: GCData points to a mask that is made when needed */
	ARENA_BITMAP = 2097152,   /* bytes of heapArena.bitmap, up to 1.19 */
	ARENA_BITS = 1048576,     /* 1.20, 1.21; noMorePtrs behind it */
	MAX_PAGES = 1 << 28,
	MAX_BACK = 255, /* pages of a span: what struct go_objects_page can say */
	/* of the heap's memory, what is held at once: a walk takes 39 bytes an object and 2 for
	 * the spans, and 48 and 100 MiB are what there is */
	HELD_LEAST = 40 << 20,
	HELD_EACH = 2,
	SPAN_BYTES = 136, /* the shortest mspan */
	SOME = 56,        /* bits that are in 8 bytes wherever they begin */
};

void go_objects_close(struct go_objects *o)
{
	go_span_memory_close(&o->memory);
	while (o->bits) {
		struct go_objects_bits *next = o->bits->next;

		free(o->bits);
		o->bits = next;
	}
	peek_close(&o->peek);
	free(o->spans);
	free(o->page);
	*o = (struct go_objects){ 0 };
}

/* ---- finding the heap ---- */

int go_objects_maps(const struct image *i, struct maps *ret, struct error *err)
{
	for (size_t k = 0; k < image_n_segments(i); k++) {
		const struct image_segment *s = image_segment(i, k);
		struct mapping m = { .start = s->start,
			             .end = s->end,
			             .offset = s->file_offset,
			             .inode = s->path[0] == '/',
			             .prot = s->prot };
		int r = array_reserve(&ret->items, &ret->cap_items, ret->n_items + 1, err);

		m.name = r == 0 ? strdup(s->path) : NULL;
		if (r == 0 && !m.name)
			r = error_oom(err);
		if (r < 0)
			return r;
		ret->items[ret->n_items++] = m;
	}
	return 0;
}

static int find_heap(struct go_objects *o, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = go_objects_maps(o->image, &maps, err);

	/* noptrbss, bss and data follow each other; mheap_ is in one of them */
	for (unsigned k = 0; r == 0 && k < 2; k++) {
		const struct image_segment *s = image_find(o->image, o->module->data[k].start);
		uint64_t at = s ? s->start : 0;
		uint64_t most = s ? go_module_end_of(o->module, o->module->data[k].start) : 0;
		struct regions_data d = { .start = at, .end = at };

		/* data and .bss are neighbours, of one kind or two; a core may end before them */
		while (s && s->start == d.end && s->bytes && (s->prot & MAPS_WRITE)) {
			d.end = s->start + s->bytes; /* no variable is in what a core leaves out */
			s = d.end < most ? image_find(o->image, d.end) : NULL;
		}
		if (d.end > most)
			d.end = (most + PAGE - 1) / PAGE * PAGE;
		r = d.end > d.start ? go_heap_next(&o->peek, &maps, &d, &at, &o->heap, err) : 0;
		if (r == 1)
			return 0;
	}
	if (r < 0)
		return r;
	return error_set(err, ENOTSUP, "%s: no heap of the Go runtime is found",
	                 image_name(o->image));
}

/* ---- spans ---- */

static uint64_t word(const struct go_objects *o, uint64_t at)
{
	return image_uint64(o->image, at);
}

/* Of one mapping, or of some that touch? */
static bool is_mapped(const struct go_objects *o, uint64_t start, uint64_t end)
{
	const struct image_segment *s = NULL;

	for (uint64_t at = start; at < end; at = s->end) {
		s = image_find(o->image, at);
		if (!s)
			return false;
	}
	return true;
}

static int add_span(struct go_objects *o, const struct go_heap_span *s, struct error *err)
{
	const struct go_layout *l = o->module->layout;
	struct go_objects_span x = {
		.start = s->start,
		.end = s->start + s->pages * GO_HEAP_PAGE,
		.elemsize = s->elemsize,
		.n = (uint32_t)s->n_elems,
		.taken = s->count,
		.free_index = (uint32_t)s->free_index,
		.alloc_bits = s->bits,
		.no_scan = s->class_ & 1,
		.specials = word(o, s->at + l->mspan_specials),
	};
	int r = array_reserve(&o->spans, &o->cap_spans, o->n_spans + 1, err);

	if (r < 0)
		return r;
	if (l->bits == GO_BITS_SPAN && !x.no_scan) {
		x.has_header = s->class_ >> 1 && s->elemsize > HEADER_LEAST;
		x.large_type = s->class_ >> 1 ? 0 : word(o, s->at + l->mspan_large_type);
	}
	x.reciprocal = UINT64_MAX / x.elemsize + 1;
	o->taken_objects += x.taken;
	o->taken_bytes += x.taken * x.elemsize;
	o->spans[o->n_spans++] = x;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct go_objects_span *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int read_spans(struct go_objects *o, struct error *err)
{
	if (o->heap.n_spans > o->readable / SPAN_BYTES)
		return error_set(err, E2BIG, "the heap has too many spans");
	for (uint64_t i = 0; i < o->heap.n_spans; i++) {
		struct go_heap_span s = { 0 };
		uint64_t at = word(o, o->heap.spans + 8 * i);
		int r = 0;

		if (go_heap_read_span(&o->peek, &o->heap, at, &s) > 0 &&
		    s.state == GO_HEAP_IN_USE &&
		    is_mapped(o, s.start, s.start + s.pages * GO_HEAP_PAGE))
			r = add_span(o, &s, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* In order, without overlaps (of a heap that is hostile or torn), numbered. */
static int order_spans(struct go_objects *o, struct error *err)
{
	uint64_t slots = 0;
	size_t n = 0;

	if (!o->n_spans)
		return error_set(err, ENOTSUP, "%s: the Go heap is empty", image_name(o->image));
	qsort(o->spans, o->n_spans, sizeof(*o->spans), by_start);
	for (size_t i = 0; i < o->n_spans; i++) {
		if (n && o->spans[i].start < o->spans[n - 1].end)
			continue;
		o->spans[n] = o->spans[i];
		o->spans[n].first = (uint32_t)slots;
		slots += o->spans[n++].n;
		if (slots >= UINT32_MAX - 1)
			return error_set(err, E2BIG, "more than 4 thousand million objects");
	}
	o->n_spans = n;
	o->n_slots = (uint32_t)slots;
	o->low = o->spans[0].start;
	o->high = o->spans[n - 1].end;
	return 0;
}

static void find_gap(struct go_objects *o)
{
	uint64_t largest = 0;

	o->before_gap = o->high - o->low;
	o->behind_gap = o->high;
	for (size_t i = 1; i < o->n_spans; i++) {
		uint64_t gap = o->spans[i].start - o->spans[i - 1].end;

		if (gap <= largest)
			continue;
		largest = gap;
		o->before_gap = o->spans[i - 1].end - o->low;
		o->behind_gap = o->spans[i].start;
	}
	o->bytes = o->high - o->low - largest;
}

/* 0: it has one of its own. */
static uint8_t find_rule(struct go_objects *o, const struct go_objects_span *s)
{
	size_t k = 1;

	if (s->n == 1 || s->end - s->start > MAX_BACK * GO_HEAP_PAGE)
		return 0;
	while (k <= o->n_rules &&
	       (o->rules[k].n != s->n || o->rules[k].reciprocal != s->reciprocal))
		k++;
	if (k == ARRAY_SIZE(o->rules))
		return 0;
	if (k > o->n_rules) {
		o->rules[k] = (struct go_objects_rule){ s->reciprocal, s->n };
		o->n_rules++;
	}
	return (uint8_t)k;
}

static void index_span(struct go_objects *o, size_t span)
{
	const struct go_objects_span *s = &o->spans[span];
	struct go_objects_page p = { .span = (uint32_t)span + 1,
		                     .first = s->first,
		                     .rule = find_rule(o, s) };

	for (uint64_t a = s->start; a < s->end; a += GO_HEAP_PAGE, p.back++)
		o->page[go_objects_offset(o, a) / GO_HEAP_PAGE] = p;
}

static int index_pages(struct go_objects *o, struct error *err)
{
	uint64_t n;

	find_gap(o);
	n = o->bytes / GO_HEAP_PAGE;
	if (n > MAX_PAGES)
		return error_set(err, E2BIG, "%s: the Go heap lies too far apart",
		                 image_name(o->image));
	o->page = calloc(n + 1, sizeof(*o->page));
	if (!o->page)
		return error_oom(err);
	for (size_t i = 0; i < o->n_spans; i++)
		index_span(o, i);
	return 0;
}

int go_objects_open(struct image *i, const struct go_module *m, struct go_objects *ret,
                    struct error *err)
{
	cleanup(go_objects_close) struct go_objects o = { .module = m, .image = i };
	int r = peek_open_image(&o.peek, i, err);

	for (size_t k = 0; k < image_n_segments(i); k++) {
		const struct image_segment *s = image_segment(i, k);

		o.readable += s->prot & MAPS_READ ? s->bytes : 0;
	}
	if (r == 0)
		r = find_heap(&o, err);
	if (r == 0)
		r = read_spans(&o, err);
	if (r == 0)
		r = order_spans(&o, err);
	if (r == 0)
		r = index_pages(&o, err);
	if (r < 0)
		return r;
	go_span_memory_open(&o.memory, i, o.spans, o.n_spans,
	                    HELD_LEAST + HELD_EACH * o.taken_objects);
	*ret = o;
	o = (struct go_objects){ 0 };
	return 0;
}

/* ---- objects ---- */

uint64_t go_objects_address(const struct go_objects_span *s, uint32_t slot)
{
	return s->start + (uint64_t)(slot - s->first) * s->elemsize;
}

bool go_objects_is_free(const struct go_objects *o, size_t s, uint32_t slot)
{
	const struct go_objects_span *x = &o->spans[s];
	uint32_t n = slot - x->first;
	uint8_t byte;

	return n >= x->free_index && x->alloc_bits &&
	       image_read(o->image, x->alloc_bits + n / 8, &byte, 1) == 0 && !(byte >> n % 8 & 1);
}

bool go_objects_has_inline_marks(struct go_objects *o, const struct go_objects_span *s)
{
	uint32_t flags = o->module->layout->heap_arena_inline_marks;
	uint32_t bytes = o->module->layout->inline_marks_bytes;
	uint64_t arena, page = s->start % GO_HEAP_ARENA_BYTES / GO_HEAP_PAGE;
	uint8_t byte;

	if (flags == GO_LAYOUT_NONE || bytes != INLINE_MARKS || s->end - s->start != GO_HEAP_PAGE)
		return false;
	arena = go_heap_arena(&o->peek, &o->heap, s->start);
	return arena && image_read(o->image, arena + flags + page / 8, &byte, 1) == 0 &&
	       (byte >> page % 8 & 1);
}

/* The bits are asked for more often than the rest, and outlive it. */
static const uint8_t *keep_bits(struct go_objects *o, const uint8_t *bits, size_t n)
{
	struct go_objects_bits *b = o->bits;

	if (image_kind(o->image) == IMAGE_CORE)
		return bits;
	if (n > sizeof(b->bytes))
		return NULL;
	if (!b || b->used + n > sizeof(b->bytes)) {
		b = malloc(sizeof(*b));
		if (!b)
			return NULL;
		b->next = o->bits;
		b->used = 0;
		o->bits = b;
	}
	memcpy(b->bytes + b->used, bits, n);
	b->used += n;
	return b->bytes + b->used - n;
}

static bool has_bits(const struct go_objects *o, const struct go_objects_span *s)
{
	return o->module->layout->bits == GO_BITS_SPAN && !s->has_header && s->n &&
	       !s->large_type && s->elemsize <= HEADER_LEAST;
}

uint64_t go_objects_bits_bytes(struct go_objects *o, const struct go_objects_span *s)
{
	uint64_t bits = has_bits(o, s) && !s->no_scan ? (s->end - s->start) / 64 : 0;

	return bits + (s->elemsize <= HEADER_LEAST && go_objects_has_inline_marks(o, s)
	                       ? INLINE_MARKS
	                       : 0);
}

static void find_bits(struct go_objects *o, struct go_objects_span *s)
{
	uint64_t bytes = s->end - s->start, bits = bytes / 64;
	const uint8_t *memory;

	s->tried = true;
	if (!has_bits(o, s))
		return;
	memory = go_objects_memory(o, s);
	if (memory)
		s->bits = keep_bits(o,
		                    memory + bytes - bits -
		                            (go_objects_has_inline_marks(o, s) ? INLINE_MARKS : 0),
		                    bits);
	s->is_missing |= !s->bits;
}

const uint8_t *go_objects_bits(struct go_objects *o, size_t s)
{
	struct go_objects_span *x = &o->spans[s];

	if (!x->tried && !x->no_scan)
		find_bits(o, x);
	return x->bits;
}

static bool bit(const uint8_t *bits, uint64_t n)
{
	return bits[n / 8] >> n % 8 & 1;
}

static uint64_t value_at(const uint8_t *memory)
{
	uint64_t v;

	memcpy(&v, memory, sizeof(v));
	return v;
}

/* Bits [@first, @first + @n), at most SOME. */
static uint64_t some_bits(const uint8_t *bits, uint64_t first, uint64_t n)
{
	uint64_t set = 0;

	for (uint64_t k = 0; k < (first % 8 + n + 7) / 8; k++)
		set |= (uint64_t)bits[first / 8 + k] << 8 * k;
	return set >> first % 8 & ((1ull << n) - 1);
}

/* Words of @memory (NULL: they are not wanted) whose bits, from bit @first on, are set. */
static int scan_bits(const uint8_t *memory, const uint8_t *bits, uint64_t first, uint64_t words,
                     uint32_t offset, go_objects_fn fn, void *arg)
{
	for (uint64_t w = 0; w < words; w += SOME) {
		uint64_t set = some_bits(bits, first + w, words - w < SOME ? words - w : SOME);

		for (; set; set &= set - 1) {
			uint64_t at = (w + (uint64_t)__builtin_ctzll(set)) * WORD;
			int r = fn(arg, offset + (uint32_t)at, memory ? value_at(memory + at) : 0);

			if (r)
				return r;
		}
	}
	return 0;
}

static int scan_all(const uint8_t *memory, uint64_t words, go_objects_fn fn, void *arg)
{
	int r = 0;

	for (uint64_t w = 0; r == 0 && w < words; w++)
		r = fn(arg, (uint32_t)(w * WORD), memory ? value_at(memory + w * WORD) : 0);
	return r;
}

static void read_mask(struct go_objects *o, uint64_t type, struct go_objects_mask *ret)
{
	const struct go_layout *l = o->module->layout;
	const uint8_t *t = image_at(o->image, type, l->type_bytes);
	uint64_t at;

	*ret = (struct go_objects_mask){ .type = type };
	if (!t)
		return;
	ret->size = value_at(t + l->type_size) / WORD;
	ret->pointers = value_at(t + l->type_ptr_bytes) / WORD;
	at = value_at(t + l->type_gc_data);
	if (l->minor >= 24 && (t[l->type_tflag] & TFLAG_ON_DEMAND))
		at = word(o, at);
	else if (l->minor < 24 && (t[l->type_kind] & KIND_GC_PROG))
		at = 0;
	if (at && ret->pointers)
		ret->mask = image_at(o->image, at, (ret->pointers + 7) / 8);
}

/* The mask of a type is repeated over an array of it (mbitmap.go, typePointers). @memory may be
 * NULL: values are not wanted. */
static int scan_type(struct go_objects *o, uint64_t type, const uint8_t *memory, uint64_t words,
                     go_objects_fn fn, void *arg)
{
	struct go_objects_mask *lately = &o->masks[type / 32 % ARRAY_SIZE(o->masks)], k;
	int r = 0;

	if (lately->type != type)
		read_mask(o, type, lately);
	k = *lately;                            /* @fn may come by here */
	if (!k.size || (k.pointers && !k.mask)) /* by a program: any word may be one */
		return scan_all(memory, words, fn, arg);
	for (uint64_t e = 0; r == 0 && e < words && k.pointers; e += k.size) {
		uint64_t n = k.pointers < words - e ? k.pointers : words - e;

		r = scan_bits(memory ? memory + e * WORD : NULL, k.mask, 0, n, (uint32_t)(e * WORD),
		              fn, arg);
	}
	return r;
}

/* Up to 1.21 the bits are the arena's. */
static int scan_arena(struct go_objects *o, uint64_t address, const uint8_t *memory, uint64_t words,
                      go_objects_fn fn, void *arg)
{
	uint64_t arena = go_heap_arena(&o->peek, &o->heap, address);
	uint64_t first = address % GO_HEAP_ARENA_BYTES / WORD;
	bool nibbles = o->module->layout->bits == GO_BITS_NIBBLES;
	const uint8_t *bits = arena ? image_at(o->image, arena, nibbles ? ARENA_BITMAP : ARENA_BITS)
	                            : NULL;
	const uint8_t *no_more = arena && !nibbles
	                                 ? image_at(o->image, arena + ARENA_BITS, ARENA_BITS / 64)
	                                 : NULL;
	int r = 0;

	if (!bits || (!nibbles && !no_more))
		return scan_all(memory, words, fn, arg);
	for (uint64_t w = 0; r == 0 && w < words; w++) {
		uint64_t k = first + w;
		bool pointer, last;

		if (nibbles) { /* low four bits: pointer; high four: go on */
			uint8_t b = bits[k / 4] >> k % 4;

			if (!(b & 16))
				break;
			pointer = b & 1;
			last = false;
		} else {
			pointer = bit(bits, k);
			last = k % 64 == 63 && bit(no_more, k / 64);
		}
		if (pointer)
			r = fn(arg, (uint32_t)(w * WORD), value_at(memory + w * WORD));
		if (last)
			break;
	}
	return r;
}

static int scan(struct go_objects *o, struct go_objects_span *x, const uint8_t *memory,
                uint32_t slot, go_objects_fn fn, void *arg)
{
	uint64_t at = (uint64_t)slot * x->elemsize, words = x->elemsize / WORD;

	if (x->bits)
		return go_objects_scan_small(x, memory, slot, fn, arg);
	memory += at;
	if (o->module->layout->bits != GO_BITS_SPAN)
		return scan_arena(o, x->start + at, memory, words, fn, arg);
	if (x->has_header)
		return value_at(memory)
		               ? scan_type(o, value_at(memory), memory + WORD, words - 1, fn, arg)
		               : 0;
	return x->large_type ? scan_type(o, x->large_type, memory, words, fn, arg) : 0;
}

int go_objects_scan(struct go_objects *o, size_t s, uint32_t slot, go_objects_fn fn, void *arg)
{
	struct go_objects_span *x = &o->spans[s];
	const uint8_t *memory;
	int r;

	if (x->no_scan)
		return 0;
	if (!x->tried)
		find_bits(o, x);
	memory = go_objects_memory(o, x);
	if (!memory)
		return 0;
	x->pins++;
	r = scan(o, x, memory, slot, fn, arg);
	x->pins--;
	return r;
}

int go_objects_offsets(struct go_objects *o, size_t s, uint32_t slot, go_objects_fn fn, void *arg)
{
	struct go_objects_span *x = &o->spans[s];

	if (!x->no_scan && !x->tried)
		find_bits(o, x);
	if (x->large_type && !x->bits && !x->no_scan)
		return scan_type(o, x->large_type, NULL, x->elemsize / WORD, fn, arg);
	if (!x->bits)
		return go_objects_scan(o, s, slot, fn, arg);
	return scan_bits(NULL, x->bits, (uint64_t)slot * x->elemsize / WORD, x->elemsize / WORD, 0,
	                 fn, arg);
}

uint64_t go_objects_word(struct go_objects *o, uint64_t at)
{
	const uint64_t offset = go_objects_offset(o, at);
	struct go_objects_span *x = NULL;
	const uint8_t *memory = NULL;
	uint32_t k = offset < UINT64_MAX ? o->page[offset / GO_HEAP_PAGE].span : 0;

	if (k)
		x = &o->spans[k - 1];
	if (x && !x->no_scan && x->end - at >= WORD)
		memory = go_objects_memory(o, x);
	return memory ? value_at(memory + (at - x->start)) : word(o, at);
}

uint64_t go_objects_type(struct go_objects *o, size_t s, uint32_t slot)
{
	struct go_objects_span *x = &o->spans[s];
	const uint8_t *memory;

	if (x->no_scan || !x->has_header)
		return x->large_type;
	memory = go_objects_memory(o, x);
	return memory ? value_at(memory + (uint64_t)slot * x->elemsize) : 0;
}
