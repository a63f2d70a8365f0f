/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/musl/musl_meta.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* struct malloc_context (glue.h has no pagesize in it where PAGESIZE is a
 * constant: x86-64), struct meta_area, struct meta, in bytes. */
enum {
	AT_SECRET = 0,
	AT_INIT_DONE = 8,
	AT_AVAIL_META_COUNT = 32,
	AT_SPARE_COUNT = 40,
	AT_AREA_HEAD = 56,
	AT_AREA_TAIL = 64,
	AT_SPARE = 72,
	CONTEXT_BYTES = 80 + 48 * 8 * 2,
	AREA_NEXT = 8,
	AREA_N_SLOTS = 16,
	AREA_SLOTS = 24,
	META_BYTES = 40,
	META_MEM = 16,
	META_AVAIL = 24,
	META_FREED = 28,
	META_BITS = 32, /* last_idx:5 freeable:1 sizeclass:6 maplen */
	N_CLASSES = 48,
	OWN_MAPPING = 63, /* sizeclass of a block with a mapping of its own */
	UNIT = 16,
	IN_BAND = 4, /* bytes of the next slot's header at a slot's end */
	WINDOW = 1 << 20,
};

/* malloc.c, size_classes[], in units */
static const uint16_t classes[N_CLASSES] = {
	1,   2,   3,   4,    5,    6,    7,    8,    9,    10,   12,   15,   18,   20,   25,   31,
	36,  42,  50,  63,   72,   84,   102,  127,  146,  170,  204,  255,  292,  340,  409,  511,
	584, 682, 818, 1023, 1169, 1364, 1637, 2047, 2340, 2730, 3276, 4095, 4680, 5460, 6552, 8191,
};

static uint64_t word_at(const uint8_t *b, size_t at)
{
	uint64_t w;

	memcpy(&w, b + at, sizeof(w));
	return w;
}

static uint32_t half_at(const uint8_t *b, size_t at)
{
	uint32_t w;

	memcpy(&w, b + at, sizeof(w));
	return w;
}

static bool try_context(struct peek *p, const uint8_t *b, uint64_t at,
                        struct musl_meta_context *ret)
{
	uint64_t secret = word_at(b, AT_SECRET), head = word_at(b, AT_AREA_HEAD),
		 tail = word_at(b, AT_AREA_TAIL);

	if (!secret || half_at(b, AT_INIT_DONE) != 1 || !head || !tail ||
	    (head | tail) % MUSL_META_PAGE || word_at(b, AT_AVAIL_META_COUNT) > MUSL_META_SLOTS)
		return false;
	if (peek_word(p, head) != secret || peek_word(p, tail) != secret)
		return false;
	*ret = (struct musl_meta_context){ .at = at, .secret = secret, .first_area = head };
	ret->n_spare = word_at(b, AT_SPARE_COUNT);
	ret->spare_areas = word_at(b, AT_SPARE);
	return true;
}

static int scan_data(struct peek *p, const struct regions_data *data, struct musl_meta_context *ret,
                     struct error *err)
{
	cleanup_free uint8_t *buf = malloc(WINDOW + CONTEXT_BYTES);

	if (!buf)
		return error_oom(err);
	for (uint64_t at = data->start; at < data->end && !p->gone; at += WINDOW) {
		size_t len = WINDOW + CONTEXT_BYTES;

		if (data->end - at < len)
			len = data->end - at;
		if (!peek_fill(p, at, buf, len))
			continue;
		for (size_t i = 0; i + CONTEXT_BYTES <= len; i += 8) {
			if (try_context(p, buf + i, at + i, ret))
				return 1;
		}
	}
	return 0;
}

int musl_meta_next(struct peek *p, const struct regions_input *in, const char *exe, size_t *pos,
                   struct musl_meta_context *ret, struct error *err)
{
	struct regions_data data;

	while (regions_next_data(in->maps, exe, pos, &data)) {
		int r = scan_data(p, &data, ret, err);

		if (r != 0)
			return r;
	}
	return 0;
}

bool musl_meta_read_area(struct peek *p, const struct musl_meta_context *c, uint64_t at,
                         struct musl_meta_area *ret)
{
	if (at % MUSL_META_PAGE || !peek_read(p, at, ret->bytes, sizeof(ret->bytes)) ||
	    word_at(ret->bytes, 0) != c->secret ||
	    half_at(ret->bytes, AREA_N_SLOTS) != MUSL_META_SLOTS)
		return false;
	ret->next = word_at(ret->bytes, AREA_NEXT);
	return true;
}

/* get_stride() of meta.h */
static uint64_t stride_of(unsigned last, unsigned class, uint64_t mapped)
{
	return last == 0 && mapped ? mapped - UNIT : (uint64_t)UNIT * classes[class];
}

int musl_meta_group(struct peek *p, const struct maps *m, const struct musl_meta_area *a,
                    uint64_t at, unsigned i, struct musl_meta_group *ret)
{
	size_t offset = AREA_SLOTS + META_BYTES * i;
	const uint8_t *b = a->bytes + offset;
	uint64_t bits = word_at(b, META_BITS), mem = word_at(b, META_MEM), back;
	unsigned last = bits & 31, class = bits >> 6 & 63;
	struct musl_meta_group g = { .meta = at + offset, .mem = mem };
	const struct mapping *v;

	if (!mem)
		return 0;
	g.mapped = (bits >> 12) * MUSL_META_PAGE;
	if (mem % UNIT || (class >= N_CLASSES && (class != OWN_MAPPING || last || !g.mapped)))
		return -1;
	g.n_slots = last + 1;
	g.stride = stride_of(last, class, g.mapped);
	g.bytes = MUSL_META_HEADER + g.stride * g.n_slots;
	g.free = (half_at(b, META_AVAIL) | half_at(b, META_FREED)) & (uint32_t)((2ull << last) - 1);
	if (g.mapped && g.bytes > g.mapped)
		return -1;
	*ret = g;
	v = maps_find(m, mem);
	if (!v || !(v->prot & MAPS_WRITE) || g.bytes > v->end - mem || g.mapped > v->end - mem)
		return -2;
	return peek_read(p, mem, &back, sizeof(back)) && back == g.meta ? 1 : -2;
}

bool musl_meta_block(struct peek *p, const struct musl_meta_group *g, unsigned i,
                     struct musl_meta_block *ret)
{
	uint64_t slot = g->mem + MUSL_META_HEADER + g->stride * i, start = slot;
	uint64_t end = slot + g->stride - IN_BAND;
	uint32_t reserved;
	uint8_t h[4]; /* check, index and reserve, offset (16 bits) */

	if (!peek_read(p, slot - 4, h, sizeof(h)))
		return false;
	if (h[1] == 7 << 5) { /* the block starts further behind */
		start += UNIT * (h[2] | (uint64_t)h[3] << 8);
		if (start >= end || !peek_read(p, start - 4, h, sizeof(h)))
			return false;
	}
	reserved = h[1] >> 5;
	*ret = (struct musl_meta_block){ .start = start, .is_group = reserved == 6 };
	if ((h[1] & 31) != i || h[0] > 1 || reserved == 7)
		return false;
	/* an offset that needs 32 bits is said by the check byte */
	if (!h[0] && (h[2] | (uint64_t)h[3] << 8) != (start - g->mem - MUSL_META_HEADER) / UNIT)
		return false;
	if (ret->is_group)
		return true;
	if (reserved == 5 && !peek_read(p, end - 4, &reserved, sizeof(reserved)))
		return false;
	if (reserved > end - start)
		return false;
	ret->size = end - start - reserved;
	return true;
}
