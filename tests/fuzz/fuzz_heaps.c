/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Readers of jemalloc's, tcmalloc's and mimalloc's heaps on memory that a
 * hostile process has written: first byte the form of a sound heap
 * (heapimage.h), then damages of 11 bytes each: where (24 bits, in words) and the
 * word that is put there.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/heapimage.h"
#include "base/cleanup.h"
#include "runtime/jemalloc/jemalloc_label.h"
#include "runtime/mimalloc/mimalloc_label.h"
#include "runtime/tcmalloc/tcmalloc_label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void damage(struct heapimage *i, const uint8_t *data, size_t size)
{
	for (; size >= 11; data += 11, size -= 11) {
		uint32_t word = data[0] | data[1] << 8 | data[2] << 16;

		memcpy(i->bytes + 8 * (word % (i->used / 8)), data + 3, 8);
	}
}

static void check(const struct regions *r)
{
	for (size_t i = 0; i < r->n_ranges; i++)
		if (r->ranges[i].start >= r->ranges[i].end || r->ranges[i].heap >= r->n_heaps)
			abort();
	for (size_t i = 0; i < r->n_heaps; i++)
		if (r->heaps[i].inconsistent > r->heaps[i].checked)
			abort();
}

static void find(struct heap_memory *m, const struct regions_input *in, enum heapimage_form form,
                 uint64_t addr)
{
	struct regions_block b;
	struct error err;
	int r;

	if (form == HEAPIMAGE_TCMALLOC)
		r = tcmalloc_label_find(m, in, "", addr, &b, &err);
	else if (form == HEAPIMAGE_MIMALLOC)
		r = mimalloc_label_find(m, in, addr, &b, &err);
	else
		r = jemalloc_label_find(m, in, "", addr, &b, &err);
	if (r == 1 && (addr < b.start || addr - b.start >= b.size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct heapimage image;
	cleanup(heap_memory_clear) struct heap_memory m = { 0 };
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(regions_clear) struct regions regions = { 0 };
	struct regions_input in = { .maps = &maps };
	enum heapimage_form form;
	struct error err;

	if (!size)
		return 0;
	form = data[0] % HEAPIMAGE_FORMS;
	heapimage_make(&image, form);
	damage(&image, data + 1, size - 1);
	if (heapimage_maps(form, &maps, &err) < 0)
		return 0;
	m.pictures = image.pieces;
	m.n_pictures = image.n_pieces;
	jemalloc_label_memory(&m, &in, "", &regions, &err);
	tcmalloc_label_memory(&m, &in, "", &regions, &err);
	mimalloc_label_memory(&m, &in, "", &regions, &err);
	check(&regions);
	find(&m, &in, form, HEAPIMAGE_HEAP + 64 * 20);
	find(&m, &in, form, HEAPIMAGE_HEAP + 0x10000 + 700);
	return 0;
}
