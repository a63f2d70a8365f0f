/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The objects of a Go heap and the pointers in them, exactly as the collector
 * sees both: spans give slots, heap bits (in one of three places, by version) say
 * which words of a slot are pointers. Spans without pointers are never read.
 */

#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "runtime/go/go_heap.h"
#include "runtime/go/go_module.h"
#include "runtime/go/go_span_memory.h"
#include "runtime/peek.h"
#include "target/maps.h"

struct go_objects_span {
	/* what every look at an address needs stands together */
	uint64_t start;
	uint64_t reciprocal; /* 2^64 / elemsize, rounded up */
	uint32_t first;      /* number of its first slot */
	uint32_t n;          /* slots */
	uint64_t elemsize;
	uint64_t end;
	const uint8_t *memory; /* NULL: not there now; by go_span_memory_get() */
	const uint8_t *bits;   /* GO_BITS_SPAN: of the whole span; NULL: malloc headers */
	uint16_t pins;         /* users of its memory, who want it to stay */
	bool no_scan, has_header;
	bool tried;          /* bits were asked for */
	bool is_used;        /* of memory: lately */
	bool is_copy;        /* of memory: ours */
	bool is_missing;     /* of memory: it is not to be had */
	uint64_t large_type; /* of the only object; 0 */
	uint64_t specials;
	uint64_t alloc_bits;
	uint32_t taken;      /* as the runtime counts */
	uint32_t free_index; /* slots below it are taken; above, by alloc_bits */
};

struct go_objects {
	const struct go_module *module;
	struct image *image;
	struct peek peek;
	struct go_heap heap;
	struct go_objects_span *spans; /* by address; owned */
	size_t n_spans, cap_spans;
	uint64_t low, high; /* of all spans */
	/* The largest gap between them is left out: user arenas lie 64 TiB away (malloc.go,
	 * mallocinit), and where something is in its way a heap goes on 1 TiB higher. */
	uint64_t before_gap, behind_gap; /* bytes from low to it; its end; of none: high */
	uint64_t bytes;                  /* from low to high without it */
	/* Of each of these pages, so that to find a slot needs no look at its span; owned */
	struct go_objects_page {
		uint32_t span;  /* + 1; 0: none */
		uint32_t first; /* number of the span's first slot */
		uint8_t back;   /* pages from the span's start */
		uint8_t rule;   /* how the span is divided; 0: the span says it */
	} * page;
	struct go_objects_rule {
		uint64_t reciprocal;
		uint32_t n;
	} rules[256];
	uint32_t n_rules; /* [0] is none */
	uint32_t n_slots;
	uint64_t taken_bytes, taken_objects;
	uint64_t readable; /* bytes of the image that are there: of records no more can be */
	struct go_span_memory memory;
	struct go_objects_mask {
		uint64_t type, size, pointers; /* words: of the type, and those of mask */
		const uint8_t *mask;           /* NULL: not known, any word may be a pointer */
	} masks[64];                           /* of the types met last */
	struct go_objects_bits {
		struct go_objects_bits *next;
		size_t used;
		uint8_t bytes[1 << 16];
	} * bits; /* copies; owned */
};
void go_objects_close(struct go_objects *o); /* { 0 } is closed; usable with cleanup() */

int go_objects_open(struct image *i, const struct go_module *m, struct go_objects *ret,
                    struct error *err);

/* The image's segments in the form in which the heap's finder knows mappings; maps_clear(). */
int go_objects_maps(const struct image *i, struct maps *ret, struct error *err);

/* Where @addr is in the heap without its gap; UINT64_MAX: out of it. */
static inline uint64_t go_objects_offset(const struct go_objects *o, uint64_t addr)
{
	if (addr - o->low < o->before_gap)
		return addr - o->low;
	return addr >= o->behind_gap && addr < o->high ? addr - o->behind_gap + o->before_gap
	                                               : UINT64_MAX;
}

static inline uint64_t go_objects_divide(uint64_t offset, uint64_t reciprocal)
{
	return (uint64_t)(((unsigned __int128)offset * reciprocal) >> 64);
}

/* The slot that @addr points into: its number; UINT32_MAX: none. Sets *ret_span. */
static inline uint32_t go_objects_find(const struct go_objects *o, uint64_t addr, size_t *ret_span)
{
	const uint64_t offset = go_objects_offset(o, addr);
	const struct go_objects_page *p;
	const struct go_objects_span *s;
	uint64_t n, end;

	if (offset == UINT64_MAX)
		return UINT32_MAX;
	p = &o->page[offset / GO_HEAP_PAGE];
	if (!p->span)
		return UINT32_MAX;
	if (p->rule) {
		n = go_objects_divide((uint64_t)p->back * GO_HEAP_PAGE + addr % GO_HEAP_PAGE,
		                      o->rules[p->rule].reciprocal);
		end = o->rules[p->rule].n;
	} else {
		s = &o->spans[p->span - 1];
		n = go_objects_divide(addr - s->start, s->reciprocal);
		end = s->n;
	}
	if (n >= end)
		return UINT32_MAX;
	*ret_span = p->span - 1;
	return p->first + (uint32_t)n;
}
/* Address of slot @n of span @s. */
uint64_t go_objects_address(const struct go_objects_span *s, uint32_t slot);

/* Is the slot free, by the runtime's own account (mbitmap.go, isFree)? A stale word on a stack may
 * point into one. */
bool go_objects_is_free(const struct go_objects *o, size_t s, uint32_t slot);

/* sizeof(spanInlineMarkBits) (1.25+): 63 bytes of scanned ones, one more, 63 of marks, the class */
enum { GO_OBJECTS_INLINE_MARKS = 128, GO_OBJECTS_INLINE_MARKS_AT = 64 };
/* Do the small objects of a page have their mark bits inline, at the page's end, until it is swept?
 */
bool go_objects_has_inline_marks(struct go_objects *o, const struct go_objects_span *s);

/* Bytes at the end of a span that the runtime keeps for itself: heap bits, mark bits. */
uint64_t go_objects_bits_bytes(struct go_objects *o, const struct go_objects_span *s);

/* Heap bits of a span of small objects, one bit a word; NULL: none, or they are not there. */
const uint8_t *go_objects_bits(struct go_objects *o, size_t s);

/* Called for each word of an object that is a pointer; non-zero ends the walk. */
typedef int (*go_objects_fn)(void *arg, uint32_t offset, uint64_t value);
/* Slot @slot (counted within span @s). The offset counts from the object's data,
 * behind a malloc header. */
int go_objects_scan(struct go_objects *o, size_t s, uint32_t slot, go_objects_fn fn, void *arg);
/* Which words of it are pointers; the values are not looked at and said to be 0. */
int go_objects_offsets(struct go_objects *o, size_t s, uint32_t slot, go_objects_fn fn, void *arg);
/* The memory of a span; as go_span_memory_get(). */
static inline const uint8_t *go_objects_memory(struct go_objects *o, struct go_objects_span *x)
{
	if (!x->memory)
		return go_span_memory_get(&o->memory, x);
	x->is_used = true;
	return x->memory;
}

/* Bits [@first, @first + @n) of a span's, at most 64. They come in whole words. */
static inline uint64_t go_objects_some_bits(const uint8_t *bits, uint64_t first, uint64_t n)
{
	const uint64_t shift = first % 64;
	uint64_t set, more;

	memcpy(&set, bits + first / 64 * sizeof(set), sizeof(set));
	set >>= shift;
	if (shift + n > 64) {
		memcpy(&more, bits + (first / 64 + 1) * sizeof(more), sizeof(more));
		set |= more << (64 - shift);
	}
	return n < 64 ? set & ((1ull << n) - 1) : set;
}

/* The same as bits, the lowest for the first word, of an object whose span has heap bits (up to 512
 * bytes); false: it has none, or they are not there. */
static inline bool go_objects_mask(struct go_objects *o, size_t s, uint32_t slot, uint64_t *ret)
{
	const struct go_objects_span *x = &o->spans[s];
	const uint64_t words = x->elemsize / sizeof(*ret);
	const uint8_t *bits = x->bits ? x->bits : go_objects_bits(o, s);

	if (!bits || words > 64)
		return false;
	*ret = go_objects_some_bits(bits, slot * words, words);
	return true;
}

/* As go_objects_scan(), of an object whose span has heap bits and is at hand, at @memory: who calls
 * it with a function that the compiler sees has one loop. */
static inline int go_objects_scan_small(const struct go_objects_span *x, const uint8_t *memory,
                                        uint32_t slot, go_objects_fn fn, void *arg)
{
	const uint64_t all = x->elemsize / sizeof(uint64_t), first = slot * all;

	memory += slot * x->elemsize;
	for (uint64_t w = 0; w < all; w += 64) {
		uint64_t set = go_objects_some_bits(x->bits, first + w,
		                                    all - w < 64 ? all - w : 64);

		for (; set; set &= set - 1) {
			const uint64_t at = (w + (uint64_t)__builtin_ctzll(set)) * sizeof(uint64_t);
			uint64_t value;
			int r;

			memcpy(&value, memory + at, sizeof(value));
			r = fn(arg, (uint32_t)at, value);
			if (r)
				return r;
		}
	}
	return 0;
}
/* The word at @at, wherever it is; 0: it is not there. */
uint64_t go_objects_word(struct go_objects *o, uint64_t at);
/* Does the runtime say of the span's objects what they are? */
static inline bool go_objects_has_types(const struct go_objects_span *x)
{
	return x->has_header || x->large_type;
}

/* The runtime's own type of an object (malloc header, largeType); 0: not known. */
uint64_t go_objects_type(struct go_objects *o, size_t s, uint32_t slot);
