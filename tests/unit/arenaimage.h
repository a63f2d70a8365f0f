/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Small sound heaps of glibc and of musl's mallocng as pictures of memory, for
 * unit tests and for the fuzz target that damages them.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "runtime/peek.h"
#include "runtime/regions.h"

enum {
	IMAGE_DATA = 0x10000000, /* .data of a module */
	IMAGE_DATA_BYTES = 0x3000,
	IMAGE_HEAP = 0x20000000,
	IMAGE_HEAP_BYTES = 0x10000,
	IMAGE_STATE = IMAGE_DATA + 0x100, /* main_arena of the older layout */
};

struct arenaimage {
	uint64_t data[IMAGE_DATA_BYTES / 8], heap[IMAGE_HEAP_BYTES / 8];
	struct peek_piece pieces[2];
	struct maps maps;
	struct regions_input in;
	uint64_t used, free, fast, top, cached; /* bytes of glibc's chunks */
};

static inline uint64_t *image_word(struct arenaimage *i, uint64_t addr)
{
	return addr >= IMAGE_HEAP ? &i->heap[(addr - IMAGE_HEAP) / 8]
	                          : &i->data[(addr - IMAGE_DATA) / 8];
}

static inline void image_open(struct arenaimage *i, const char *module)
{
	struct error err;
	char text[512];
	int n;

	memset(i, 0, sizeof(*i));
	i->pieces[0] = (struct peek_piece){ IMAGE_DATA, IMAGE_DATA + IMAGE_DATA_BYTES,
		                            (uint8_t *)i->data };
	i->pieces[1] = (struct peek_piece){ IMAGE_HEAP, IMAGE_HEAP + IMAGE_HEAP_BYTES,
		                            (uint8_t *)i->heap };
	n = snprintf(text, sizeof(text),
	             "%x-%x rw-p 00000000 08:01 77 %s\n%x-%x rw-p 00000000 00:00 0 [heap]\n",
	             IMAGE_DATA, IMAGE_DATA + IMAGE_DATA_BYTES, module, IMAGE_HEAP,
	             IMAGE_HEAP + IMAGE_HEAP_BYTES);
	if (maps_parse(text, n, &i->maps, &err) < 0)
		__builtin_trap();
	i->in.maps = &i->maps;
	i->in.stopped = true;
}

/* One chunk at *at; @in_use: of the one before it. */
static inline void image_chunk(struct arenaimage *i, uint64_t *at, uint64_t size, int before_used)
{
	*image_word(i, *at + 8) = size | (before_used ? 1 : 0);
	*at += size;
}

static inline void image_glibc(struct arenaimage *i)
{
	uint64_t at = IMAGE_HEAP, free_chunk, fast;

	image_open(i, "/lib/libc.so.6");
	for (unsigned k = 0; k < 127; k++) {
		uint64_t self = IMAGE_STATE + 96 + 16 * k;

		*image_word(i, self + 16) = *image_word(i, self + 24) = self;
	}
	*image_word(i, IMAGE_STATE + 2160) = IMAGE_STATE; /* next */
	image_chunk(i, &at, 0x290, 1);                    /* the thread's cache */
	i->cached = 0x30;
	*image_word(i, IMAGE_HEAP + 16) = 1ull << 16;        /* counts[1] */
	*image_word(i, IMAGE_HEAP + 16 + 128 + 8) = at + 16; /* entries[1] */
	*image_word(i, at + 16) = (at + 16) >> 12;           /* the last one */
	image_chunk(i, &at, 0x30, 1);
	fast = at;
	*image_word(i, fast + 16) = (fast + 16) >> 12;
	*image_word(i, IMAGE_STATE + 16) = fast;
	image_chunk(i, &at, 0x20, 1);
	image_chunk(i, &at, 0x410, 1);
	free_chunk = at;
	image_chunk(i, &at, 0x3000, 1);
	*image_word(i, free_chunk + 16) = *image_word(i, free_chunk + 24) = IMAGE_STATE + 96;
	*image_word(i, IMAGE_STATE + 112) = *image_word(i, IMAGE_STATE + 120) = free_chunk;
	*image_word(i, at) = 0x3000;
	image_chunk(i, &at, 0x50, 0);
	*image_word(i, IMAGE_STATE + 96) = at; /* top */
	i->top = IMAGE_HEAP + IMAGE_HEAP_BYTES - at;
	*image_word(i, at + 8) = i->top | 1;
	*image_word(i, IMAGE_STATE + 2176) = 1;
	*image_word(i, IMAGE_STATE + 2184) = *image_word(i, IMAGE_STATE + 2192) = IMAGE_HEAP_BYTES;
	i->used = 0x290 + 0x30 + 0x410 + 0x50;
	i->free = 0x3000;
	i->fast = 0x20;
}

/* A page of metadata, a group of five slots of 48 bytes: two in use, one freed. */
static inline void image_musl(struct arenaimage *i)
{
	uint64_t group = IMAGE_HEAP + 0x2000, meta = IMAGE_HEAP + 24;
	uint8_t *g;

	image_open(i, "/lib/ld-musl-x86_64.so.1");
	*image_word(i, IMAGE_DATA + 0x200) = 0x1122334455667788; /* secret */
	*image_word(i, IMAGE_DATA + 0x208) = 1;                  /* init_done */
	*image_word(i, IMAGE_DATA + 0x200 + 56) = IMAGE_HEAP;
	*image_word(i, IMAGE_DATA + 0x200 + 64) = IMAGE_HEAP;
	*image_word(i, IMAGE_HEAP) = 0x1122334455667788;
	*image_word(i, IMAGE_HEAP + 16) = 101;
	*image_word(i, meta + 16) = group;
	*image_word(i, meta + 24) = 0x18 | 4ull << 32; /* avail, freed */
	*image_word(i, meta + 32) = 4 | 2 << 6 | 1ull << 12;
	*image_word(i, group) = meta;
	g = (uint8_t *)image_word(i, group);
	for (unsigned k = 0; k < 2; k++) { /* 40 bytes of 44, 31 of 44: the rest is reserved */
		uint8_t *block = g + 16 + 48 * k;
		uint32_t rest = 13;

		block[-3] = k | (k ? 5 : 4) << 5;
		block[-2] = 3 * k;
		if (k)
			memcpy(block + 40, &rest, sizeof(rest));
	}
}
