/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Memory of a process that does not exist, with a small heap of Go, a Lua state,
 * an arena of CPython, pages of V8, and a Java heap of G1, word by word as their
 * sources say. Shared by the unit test and the fuzz target, which damages it.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/jvm/jvm_structs.h"
#include "runtime/peek.h"
#include "target/maps.h"

enum { LANGIMAGE_PAGES = 24, LANGIMAGE_PAGE = 4096 };
#define LANGIMAGE_DATA   0x10000ull
#define LANGIMAGE_HEAP   0x200000ull
#define LANGIMAGE_CODE   0x400000ull
#define LANGIMAGE_JAVA   0x80000000ull
#define LANGIMAGE_SPANS  0xc000000000ull
#define LANGIMAGE_V8     0x550000000000ull
#define LANGIMAGE_ARENA  0x7f0000000000ull
#define LANGIMAGE_GO_MAP 0x7f1000000000ull
#define LANGIMAGE_LUA    (LANGIMAGE_HEAP + 0x4000)
#define LANGIMAGE_TABLE  (LANGIMAGE_HEAP + 0x8000)
#define LANGIMAGE_G1     (LANGIMAGE_HEAP + 0x9000)

static const char langimage_maps[] = "10000-11000 rw-p 00000000 08:01 7 /bin/x\n"
				     "200000-240000 rw-p 00000000 00:00 0 [heap]\n"
				     "400000-401000 r-xp 00000000 08:01 7 /bin/x\n"
				     "80000000-80400000 rw-p 00000000 00:00 0\n"
				     "c000000000-c004000000 rw-p 00000000 00:00 0\n"
				     "550000000000-550000100000 rw-p 00000000 00:00 0\n"
				     "7f0000000000-7f0000100000 rw-p 00000000 00:00 0\n"
				     "7f1000000000-7f1002000000 rw-p 00000000 00:00 0\n";

struct langimage {
	struct peek_piece pieces[LANGIMAGE_PAGES];
	size_t n_pages;
	uint8_t bytes[LANGIMAGE_PAGES][LANGIMAGE_PAGE];
};

/* The bytes of @addr, whose page is made if need be. */
static inline uint8_t *langimage_at(struct langimage *i, uint64_t addr)
{
	uint64_t page = addr / LANGIMAGE_PAGE * LANGIMAGE_PAGE;
	size_t n = 0;

	while (n < i->n_pages && i->pieces[n].start != page)
		n++;
	if (n == i->n_pages) {
		assert(n < LANGIMAGE_PAGES);
		i->pieces[n] = (struct peek_piece){ page, page + LANGIMAGE_PAGE, i->bytes[n] };
		i->n_pages++;
	}
	return i->bytes[n] + addr % LANGIMAGE_PAGE;
}

static inline void langimage_put(struct langimage *i, uint64_t addr, uint64_t value, size_t bytes)
{
	memcpy(langimage_at(i, addr), &value, bytes);
}

static inline void langimage_word(struct langimage *i, uint64_t addr, uint64_t value)
{
	langimage_put(i, addr, value, 8);
}

/* Four spans of 1024 objects of 8 bytes, n of them taken in span n; layout of 1.22. */
static inline void langimage_go(struct langimage *i)
{
	uint64_t list = LANGIMAGE_HEAP, record = LANGIMAGE_HEAP + 0x1000;
	uint64_t arena = LANGIMAGE_HEAP + 0x2000;

	langimage_word(i, LANGIMAGE_DATA + 0x100, list);
	langimage_word(i, LANGIMAGE_DATA + 0x108, 4);
	langimage_word(i, LANGIMAGE_DATA + 0x110, 512);
	langimage_word(i, LANGIMAGE_DATA + 0x150, LANGIMAGE_GO_MAP);
	langimage_word(i, LANGIMAGE_GO_MAP + 8 * ((LANGIMAGE_SPANS + (1ull << 47)) >> 26), arena);
	for (unsigned n = 0; n < 4; n++) {
		uint64_t at = record + 160 * n, start = LANGIMAGE_SPANS + 8192ull * n;

		langimage_word(i, list + 8 * n, at);
		langimage_word(i, arena + 8 * n, at);
		langimage_word(i, at + 24, start);
		langimage_word(i, at + 32, 1);
		langimage_put(i, at + 48, n, 2);
		langimage_put(i, at + 50, 1024, 2);
		langimage_put(i, at + 96, n, 2);
		langimage_put(i, at + 98, 2, 1);
		langimage_put(i, at + 99, 1, 1);
		langimage_word(i, at + 104, 8);
		langimage_word(i, at + 112, start + 8192);
	}
}

/* Lua 5.4 with two strings in four buckets; 12345 bytes. */
static inline void langimage_lua(struct langimage *i)
{
	uint64_t l = LANGIMAGE_LUA, g = l + 200, table = l + 0x800, string = l + 0x900;

	langimage_put(i, l + 8, 8, 1);
	langimage_word(i, l + 24, g);
	langimage_word(i, g, LANGIMAGE_CODE + 16);
	langimage_word(i, g + 16, 12000);
	langimage_word(i, g + 24, 345);
	langimage_word(i, g + 48, table);
	langimage_put(i, g + 56, 2, 4);
	langimage_put(i, g + 60, 4, 4);
	langimage_put(i, g + 72, 0x45, 1);
	langimage_word(i, g + 264, l);
	langimage_word(i, table + 8, string);
	langimage_put(i, string + 8, 4, 1);
	langimage_put(i, string + 12, 0x11, 4);
	langimage_word(i, string + 16, string + 32);
	langimage_put(i, string + 40, 0x14, 1);
	langimage_put(i, string + 44, 0x25, 4);
}

/* One arena with two pools: 5 blocks of 32 bytes, 3 of 512. */
static inline void langimage_python(struct langimage *i)
{
	static const struct {
		uint32_t class_, used;
	} pools[] = { { 1, 5 }, { 31, 3 } };

	langimage_word(i, LANGIMAGE_DATA + 0x800, LANGIMAGE_TABLE);
	langimage_word(i, LANGIMAGE_TABLE, LANGIMAGE_ARENA);
	langimage_word(i, LANGIMAGE_TABLE + 8, LANGIMAGE_ARENA + 2 * 16384);
	langimage_put(i, LANGIMAGE_TABLE + 16, 62, 4);
	langimage_put(i, LANGIMAGE_TABLE + 20, 64, 4);
	/* the end of the table: an entry that is none */
	langimage_word(i, LANGIMAGE_TABLE + 48 * 16, 1);
	for (unsigned n = 0; n < 2; n++) {
		uint64_t at = LANGIMAGE_ARENA + 16384ull * n;
		uint32_t size = 16 * (pools[n].class_ + 1);

		langimage_put(i, at, pools[n].used, 4);
		langimage_put(i, at + 36, pools[n].class_, 4);
		langimage_put(i, at + 40, 48 + pools[n].used * size, 4);
		langimage_put(i, at + 44, 16384 - size, 4);
	}
}

/* Four pages of one heap. */
static inline void langimage_v8(struct langimage *i)
{
	for (unsigned n = 0; n < 4; n++) {
		uint64_t at = LANGIMAGE_V8 + (256ull << 10) * n;

		langimage_word(i, at, 256 << 10);
		langimage_word(i, at + 16, LANGIMAGE_HEAP + 0x10);
		langimage_word(i, at + 24, at + 0x1148);
		langimage_word(i, at + 32, at + (256 << 10));
		langimage_word(i, at + 64, LANGIMAGE_HEAP + 0x20);
		langimage_word(i, at + 80, at);
		langimage_word(i, at + 88, 256 << 10);
	}
}

/* A Java heap of 4 regions of 1 MiB: one free, one never committed, 3000 and 5000 bytes used. */
static const struct jvm_structs_entry langimage_fields[] = {
	{ "Universe", "_collectedHeap", true, LANGIMAGE_DATA + 0xa00 },
	{ "CollectedHeap", "_reserved", false, 32 },
	{ "MemRegion", "_start", false, 0 },
	{ "MemRegion", "_word_size", false, 8 },
	{ "HeapRegion", "GrainBytes", true, LANGIMAGE_DATA + 0xa08 },
	{ "G1CollectedHeap", "_hrm", false, 64 },
	{ "HeapRegionManager", "_regions", false, 16 },
	{ "G1HeapRegionTable", "_base", false, 16 },
	{ "G1HeapRegionTable", "_length", false, 24 },
	{ "HeapRegion", "_type", false, 24 },
	{ "HeapRegion", "_bottom", false, 0 },
	{ "HeapRegion", "_top", false, 8 },
	{ "CompressedKlassPointers", "_narrow_klass._base", true, LANGIMAGE_DATA + 0xa10 },
	{ "ClassLoaderDataGraph", "_head", true, LANGIMAGE_DATA + 0xa18 },
	{ "ClassLoaderData", "_klasses", false, 8 },
	{ "ClassLoaderData", "_next", false, 16 },
	{ "Klass", "_next_link", false, 8 },
	{ "Klass", "_layout_helper", false, 16 },
	{ "InstanceKlass", "_constants", false, 24 },
	{ "CodeCache", "_heaps", true, LANGIMAGE_DATA + 0xa20 },
	{ "GrowableArray<int>", "_data", false, 8 },
	{ "GrowableArrayBase", "_len", false, 0 },
	{ "CodeHeap", "_memory", false, 8 },
	{ "CodeHeap", "_segmap", false, 24 },
	{ "VirtualSpace", "_low_boundary", false, 0 },
	{ "VirtualSpace", "_high_boundary", false, 8 },
	{ "BarrierSet", "_barrier_set", true, LANGIMAGE_DATA + 0xa28 },
	{ "CardTableBarrierSet", "_card_table", false, 8 },
	{ "CardTable", "_byte_map", false, 8 },
	{ "CardTable", "_byte_map_size", false, 16 },
	{ "JVMFlag", "flags", true, LANGIMAGE_DATA + 0xa30 },
	{ "JVMFlag", "numFlags", true, LANGIMAGE_DATA + 0xa38 },
	{ "JVMFlag", "_name", false, 8 },
	{ "JVMFlag", "_addr", false, 0 },
};

static inline void langimage_java(struct langimage *i)
{
	uint64_t heap = LANGIMAGE_G1, regions = heap + 0x400, region = heap + 0x500;

	langimage_word(i, LANGIMAGE_DATA + 0xa00, heap);
	langimage_word(i, LANGIMAGE_DATA + 0xa08, 1 << 20);
	langimage_word(i, heap + 32, LANGIMAGE_JAVA);
	langimage_word(i, heap + 40, (4 << 20) / 8);
	langimage_word(i, heap + 64 + 16 + 16, regions);
	langimage_word(i, heap + 64 + 16 + 24, 4);
	for (unsigned n = 0; n < 3; n++) {
		uint64_t bottom = LANGIMAGE_JAVA + (1ull << 20) * n;

		langimage_word(i, regions + 8 * n, region + 64 * n);
		langimage_word(i, region + 64 * n, bottom);
		langimage_word(i, region + 64 * n + 8, bottom + 3000 + 2000 * n);
		langimage_put(i, region + 64 * n + 24, n < 2 ? 2 : 0, 4);
	}
}

static inline int langimage_by_start(const void *a, const void *b)
{
	const struct peek_piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static inline void langimage_make(struct langimage *i)
{
	memset(i, 0, sizeof(*i));
	langimage_go(i);
	langimage_lua(i);
	langimage_python(i);
	langimage_v8(i);
	langimage_java(i);
	qsort(i->pieces, i->n_pages, sizeof(*i->pieces), langimage_by_start);
}
