/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Memory of processes that do not exist, with a small heap of jemalloc 5.3 or
 * 5.2, gperftools' tcmalloc or mimalloc 2, byte by byte as their sources say.
 * Shared by the unit test and the fuzz target, which damages it.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "runtime/heap_memory.h"
#include "target/maps.h"

enum heapimage_form {
	HEAPIMAGE_JEMALLOC_53,
	HEAPIMAGE_JEMALLOC_52,
	HEAPIMAGE_TCMALLOC,
	HEAPIMAGE_MIMALLOC,
	HEAPIMAGE_FORMS,
};

enum {
	HEAPIMAGE_PIECES = 16,
	HEAPIMAGE_BYTES = 80 * 4096,
	/* addresses; the form says which of them there are */
	HEAPIMAGE_DATA = 0x10000000, /* a module's data, 2 MiB and more */
	HEAPIMAGE_META = 0x20000000, /* metadata, 4 MiB */
	HEAPIMAGE_TLS = 0x30000000,  /* 1 MiB */
	HEAPIMAGE_HEAP = 0x40000000, /* blocks, 32 MiB */
};

struct heapimage {
	struct heap_memory_picture pieces[HEAPIMAGE_PIECES];
	size_t n_pieces, used;
	uint8_t bytes[HEAPIMAGE_BYTES];
};

/* From here on @pages pages at @addr are there. */
static inline void heapimage_piece(struct heapimage *i, uint64_t addr, size_t pages)
{
	i->pieces[i->n_pieces++] = (struct heap_memory_picture){ addr, i->bytes + i->used,
		                                                 pages * 4096 };
	i->used += pages * 4096;
}

static inline uint8_t *heapimage_at(struct heapimage *i, uint64_t addr)
{
	for (size_t k = 0; k < i->n_pieces; k++)
		if (addr >= i->pieces[k].start && addr - i->pieces[k].start < i->pieces[k].len)
			return i->bytes + (i->pieces[k].bytes - i->bytes) +
			       (addr - i->pieces[k].start);
	return NULL;
}

static inline void heapimage_put(struct heapimage *i, uint64_t addr, uint64_t value)
{
	memcpy(heapimage_at(i, addr), &value, sizeof(value));
}

static inline void heapimage_put4(struct heapimage *i, uint64_t addr, uint32_t value)
{
	memcpy(heapimage_at(i, addr), &value, sizeof(value));
}

/* ---- jemalloc: arena 0 with four extents, one thread cache ---- */

enum {
	HEAPIMAGE_ROOT = HEAPIMAGE_DATA + 0x2b18,
	HEAPIMAGE_LEAF = HEAPIMAGE_META + 0x10c0,
	HEAPIMAGE_ARENA = HEAPIMAGE_META + 0x300000,
	HEAPIMAGE_EDATA = HEAPIMAGE_META + 0x310000,
	HEAPIMAGE_BINS = HEAPIMAGE_TLS + 0x1000,
	HEAPIMAGE_STACK = HEAPIMAGE_TLS + 0x3000,
};

static inline void heapimage_extent(struct heapimage *i, bool new, unsigned n, uint64_t start,
                                    unsigned pages, unsigned state, unsigned class, bool slab,
                                    unsigned n_free)
{
	uint64_t at = HEAPIMAGE_EDATA + 128 * n, entry = at | (uint64_t) class << 48 | slab;
	uint64_t slot = HEAPIMAGE_LEAF + (start >> 12 & 0x3ffff) * 8;

	heapimage_put(i, at,
	              (uint64_t)slab << 12 | (uint64_t)state << (new ? 17 : 16) |
	                      (uint64_t) class << (new ? 20 : 18) |
	                      (uint64_t)n_free << (new ? 28 : 26));
	heapimage_put(i, at + 8, start);
	heapimage_put(i, at + 16, pages * 4096ull);
	if (new)
		entry |= state << 2;
	for (unsigned k = 0; k < pages; k++)
		if (slab || k == 0 || k == pages - 1)
			heapimage_put(i, slot + 8 * k, entry);
}

static inline void heapimage_bin(struct heapimage *i, bool new, unsigned c, unsigned n)
{
	uint64_t at = HEAPIMAGE_BINS + 24 * c, empty = HEAPIMAGE_STACK + 64 * (c + 1);

	if (new) {
		heapimage_put(i, at, empty - 8 * n);
		heapimage_put(i, at + 16,
		              (empty & 0xffff) | ((empty - 64) & 0xffff) << 16 |
		                      (empty & 0xffff) << 32);
	} else {
		heapimage_put4(i, at + 4, n);
		heapimage_put(i, at + 16, empty);
	}
}

static inline void heapimage_jemalloc(struct heapimage *i, bool new)
{
	const uint64_t arena = HEAPIMAGE_ARENA, node = HEAPIMAGE_TLS + 0x100;

	heapimage_piece(i, HEAPIMAGE_DATA, 4);
	heapimage_piece(i, HEAPIMAGE_META, 3);
	heapimage_piece(i, HEAPIMAGE_ARENA, 17);
	heapimage_piece(i, HEAPIMAGE_TLS, 5);
	heapimage_put(i, HEAPIMAGE_ROOT + 8 * (HEAPIMAGE_HEAP >> 30), HEAPIMAGE_LEAF);
	heapimage_put(i, HEAPIMAGE_DATA + 0x40, arena);
	heapimage_put(i, HEAPIMAGE_META, 4 << 20); /* base_block_t: all but 4 KiB given out */
	heapimage_put(i, HEAPIMAGE_META + 24, HEAPIMAGE_META + (4 << 20) - 4096);
	heapimage_put(i, HEAPIMAGE_META + 32, 4096);
	/* a slab of 64 regions of 64 bytes, 10 free; one of 48 bytes; a large block; the rest */
	heapimage_extent(i, new, 0, HEAPIMAGE_HEAP, 1, 0, 4, true, 10);
	heapimage_put(i, HEAPIMAGE_EDATA + 64, 0x3ff);
	heapimage_extent(i, new, 1, HEAPIMAGE_HEAP + 0x1000, 3, 0, 3, true, 0);
	heapimage_extent(i, new, 2, HEAPIMAGE_HEAP + 0x4000, 9, 0, 40, false, 0);
	heapimage_extent(i, new, 3, HEAPIMAGE_HEAP + 0xd000, 3, 1, 232, false, 0);
	heapimage_extent(i, new, 4, HEAPIMAGE_HEAP + 0x10000, 16, 3, 232, false, 0);
	/* the arena's ring of caches: one node */
	heapimage_put(i, arena + 0x2808, node);
	heapimage_put(i, node, node);
	heapimage_put(i, node + 8, node);
	heapimage_put(i, node + 16, HEAPIMAGE_BINS);
	for (unsigned c = 0; c < 36; c++)
		heapimage_bin(i, new, c, c == 4 ? 2 : 0);
	heapimage_put(i, HEAPIMAGE_STACK + 64 * 5 - 8, HEAPIMAGE_HEAP + 64 * 20);
	heapimage_put(i, HEAPIMAGE_STACK + 64 * 5 - 16, HEAPIMAGE_HEAP + 64 * 21);
}

/* ---- tcmalloc: three spans in [heap], one thread cache ---- */

enum {
	HEAPIMAGE_TABLE = HEAPIMAGE_DATA + 0x1000, /* num_objects_to_move_, class_to_size_ */
	HEAPIMAGE_CENTRAL = HEAPIMAGE_DATA + 0x2000,
	HEAPIMAGE_PAGEMAP = HEAPIMAGE_DATA + 0x10000,
	HEAPIMAGE_SPANS = HEAPIMAGE_META + 0x300000,
	HEAPIMAGE_CACHE = HEAPIMAGE_META + 0x301000,
	HEAPIMAGE_CLASSES = 33,
};

static inline int32_t heapimage_class_bytes(unsigned c)
{
	return c < 3 ? 8 * (int)c : c < HEAPIMAGE_CLASSES - 1 ? 16 * (int)(c - 1) : 262144;
}

static inline void heapimage_span(struct heapimage *i, unsigned n, uint64_t start, unsigned pages,
                                  unsigned place, unsigned class, unsigned used, uint64_t objects)
{
	uint64_t at = HEAPIMAGE_SPANS + 48 * n, page = start >> 13;

	heapimage_put(i, at, page);
	heapimage_put(i, at + 8, pages);
	heapimage_put(i, at + 32, objects);
	heapimage_put(i, at + 40, used | (uint64_t) class << 16 | (uint64_t)place << 24);
	heapimage_put(i, HEAPIMAGE_META + 0x1008 + (page & 0x3ffff) * 8, at);
	heapimage_put(i, HEAPIMAGE_META + 0x1008 + ((page + pages - 1) & 0x3ffff) * 8, at);
}

static inline void heapimage_tcmalloc(struct heapimage *i)
{
	heapimage_piece(i, HEAPIMAGE_DATA, 18);
	heapimage_piece(i, HEAPIMAGE_META + 0x101000, 2); /* where the leaf says of HEAP */
	heapimage_piece(i, HEAPIMAGE_SPANS, 4);
	heapimage_piece(i, HEAPIMAGE_HEAP, 4);
	for (unsigned c = 0; c < HEAPIMAGE_CLASSES; c++) {
		heapimage_put4(i, HEAPIMAGE_TABLE + 4 * c, c ? 4 : 0);
		heapimage_put4(i, HEAPIMAGE_TABLE + 512 + 4 * c, heapimage_class_bytes(c));
		heapimage_put(i, HEAPIMAGE_CENTRAL + 1216 * c + 8, c);
		heapimage_put4(i, HEAPIMAGE_CACHE + 32 * c + 24, heapimage_class_bytes(c));
	}
	heapimage_put(i, HEAPIMAGE_PAGEMAP + 8 * (HEAPIMAGE_HEAP >> 31), HEAPIMAGE_META + 0x1008);
	/* 128 objects of 64 bytes, 100 given out; a large block; free pages */
	heapimage_span(i, 0, HEAPIMAGE_HEAP, 1, 0, 5, 126, HEAPIMAGE_HEAP + 64);
	heapimage_put(i, HEAPIMAGE_HEAP + 64, HEAPIMAGE_HEAP + 128);
	heapimage_span(i, 1, HEAPIMAGE_HEAP + 0x2000, 3, 0, 0, 0, 0);
	heapimage_span(i, 2, HEAPIMAGE_HEAP + 0x8000, 4, 1, 0, 0, 0);
	/* the cache: one object of 64 bytes; a batch of 4 in the transfer cache */
	heapimage_put(i, HEAPIMAGE_DATA + 0x40, HEAPIMAGE_CACHE);
	heapimage_put(i, HEAPIMAGE_CACHE + 32 * 5, HEAPIMAGE_HEAP + 640);
	heapimage_put4(i, HEAPIMAGE_CACHE + 32 * 5 + 8, 1);
	heapimage_put4(i, HEAPIMAGE_CACHE + 4096, 64);
	heapimage_put4(i, HEAPIMAGE_CENTRAL + 1216 * 5 + 1152, 1);
	heapimage_put(i, HEAPIMAGE_CENTRAL + 1216 * 5 + 128, HEAPIMAGE_HEAP + 1280);
	for (unsigned k = 0; k < 3; k++)
		heapimage_put(i, HEAPIMAGE_HEAP + 1280 + 64 * k, HEAPIMAGE_HEAP + 1344 + 64 * k);
}

/* ---- mimalloc: one segment, two pages of blocks ---- */

static inline void heapimage_slice(struct heapimage *i, unsigned k, unsigned n, uint32_t bytes,
                                   uint16_t capacity, uint32_t used, uint64_t foreign)
{
	uint64_t at = HEAPIMAGE_HEAP + 264 + 80 * k;

	heapimage_put(i, at, n);
	heapimage_put(i, at + 8, (uint64_t)capacity << 16 | (uint64_t)capacity << 32);
	heapimage_put(i, at + 24, used | (uint64_t)bytes << 32);
	heapimage_put(i, at + 40, foreign);
	heapimage_put(i, at + 48, HEAPIMAGE_META);
}

static inline void heapimage_mimalloc(struct heapimage *i)
{
	heapimage_piece(i, HEAPIMAGE_META, 2);
	heapimage_piece(i, HEAPIMAGE_HEAP, 11);
	heapimage_piece(i, HEAPIMAGE_HEAP + 0x10000, 16);
	heapimage_put(i, HEAPIMAGE_HEAP + 8 * 27, 0x5a5a5a5a5a5a5a5aull ^ HEAPIMAGE_HEAP);
	heapimage_put(i, HEAPIMAGE_HEAP + 8 * 28, 512);
	heapimage_put(i, HEAPIMAGE_HEAP + 8 * 29, 1);
	heapimage_put(i, HEAPIMAGE_HEAP + 8 * 31, 512);
	heapimage_put(i, HEAPIMAGE_HEAP + 8 * 32, 77);
	heapimage_slice(i, 0, 1, 0, 0, 0, 0);
	/* 500 blocks of 64 bytes, 300 used, of which 2 were freed by another thread */
	heapimage_slice(i, 1, 1, 64, 500, 300, (HEAPIMAGE_HEAP + 0x10000 + 384 + 640) | 2);
	heapimage_put(i, HEAPIMAGE_HEAP + 0x10000 + 384 + 640, HEAPIMAGE_HEAP + 0x10000 + 384);
	/* 2 large blocks of 128 KiB; then a free span */
	heapimage_slice(i, 2, 8, 131072, 4, 2, 0);
	heapimage_slice(i, 10, 502, 0, 0, 0, 0);
	/* the heap: queues by block size, then a block on the delayed list */
	for (unsigned q = 0; q < 75; q++)
		heapimage_put(i, HEAPIMAGE_META + 1040 + 24 * q + 16,
		              q < 2    ? 8
		              : q < 73 ? 8 * q
		                       : 0x20008 + 8 * (q - 73));
	heapimage_put(i, HEAPIMAGE_META + 2840, HEAPIMAGE_HEAP + 0x10000 + 384 + 64 * 50);
}

static inline void heapimage_make(struct heapimage *i, enum heapimage_form form)
{
	*i = (struct heapimage){ 0 };
	switch (form) {
	case HEAPIMAGE_JEMALLOC_53: heapimage_jemalloc(i, true); break;
	case HEAPIMAGE_JEMALLOC_52: heapimage_jemalloc(i, false); break;
	case HEAPIMAGE_TCMALLOC: heapimage_tcmalloc(i); break;
	default: heapimage_mimalloc(i); break;
	}
}

static inline int heapimage_maps(enum heapimage_form form, struct maps *ret, struct error *err)
{
	char text[1024];
	bool brk = form == HEAPIMAGE_TCMALLOC;
	int n = snprintf(text, sizeof(text),
	                 "10000000-10001000 rw-p 00001000 08:01 77 /lib/allocator.so\n"
	                 "10001000-10210000 rw-p 00000000 00:00 0\n"
	                 "20000000-20200000 rw-p 00000000 00:00 0\n"
	                 "20200000-20400000 rw-p 00000000 00:00 0\n"
	                 "30000000-30100000 rw-p 00000000 00:00 0\n"
	                 "40000000-42000000 rw-p 00000000 00:00 0 %s\n",
	                 brk ? "[heap]" : "");

	return maps_parse(text, n, ret, err);
}
