/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Readers of glibc's and musl's heaps on memory that a hostile process has
 * written: first byte the form of a sound heap (arenaimage.h), then damages of 11
 * bytes each: where (24 bits, in words; the highest bit: in .data) and the word
 * that is put there.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/arenaimage.h"
#include "base/cleanup.h"
#include "runtime/glibc/glibc_heap.h"
#include "runtime/musl/musl_heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arenaimage image;

static void damage(const uint8_t *data, size_t size)
{
	for (; size >= 11; data += 11, size -= 11) {
		uint32_t where = data[0] | data[1] << 8 | data[2] << 16;

		if (where >> 23)
			memcpy(&image.data[where % (IMAGE_DATA_BYTES / 8)], data + 3, 8);
		else
			memcpy(&image.heap[where % (IMAGE_HEAP_BYTES / 8)], data + 3, 8);
	}
}

static void check(const struct regions *r)
{
	for (size_t i = 0; i < r->n_ranges; i++) {
		if (r->ranges[i].start >= r->ranges[i].end || r->ranges[i].heap >= r->n_heaps)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(regions_clear) struct regions to = { 0 };
	cleanup(peek_close) struct peek p = { 0 };
	struct regions_block block;
	struct error err = { 0 };
	bool glibc = size && data[0] % 2 == 0;
	uint64_t addr = IMAGE_HEAP + 0x2038;

	if (!size)
		return 0;
	if (glibc)
		image_glibc(&image);
	else
		image_musl(&image);
	damage(data + 1, size - 1);
	if (peek_open_pieces(&p, image.pieces, 2, &err) == 0) {
		if (glibc) {
			glibc_heap_label(&p, "/bin/x", &image.in, &to, &err);
			glibc_heap_find_block(&p, "/bin/x", &image.in, addr, &block, &err);
		} else {
			musl_heap_label(&p, "/bin/x", &image.in, &to, &err);
			musl_heap_find_block(&p, "/bin/x", &image.in, addr, &block, &err);
		}
		check(&to);
	}
	maps_clear(&image.maps);
	return 0;
}
