/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Heaps of allocators in memory that we made (heapimage.h): sums and blocks. */

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "heapimage.h"
#include "runtime/jemalloc/jemalloc_label.h"
#include "runtime/mimalloc/mimalloc_label.h"
#include "runtime/module_data.h"
#include "runtime/tcmalloc/tcmalloc_label.h"

struct scene {
	struct heapimage image;
	struct heap_memory memory;
	struct maps maps;
	struct regions regions;
	struct regions_input in;
};

static void scene_clear(struct scene *s)
{
	heap_memory_clear(&s->memory);
	maps_clear(&s->maps);
	regions_clear(&s->regions);
}

static void scene_make(struct scene *s, enum heapimage_form form)
{
	struct error err;

	*s = (struct scene){ 0 };
	heapimage_make(&s->image, form);
	assert_int_equal(heapimage_maps(form, &s->maps, &err), 0);
	s->memory = (struct heap_memory){ .pictures = s->image.pieces,
		                          .n_pictures = s->image.n_pieces };
	s->in = (struct regions_input){ .maps = &s->maps, .stopped = true };
}

/* The only heap, without a contradiction. */
static const struct regions_heap *only(const struct scene *s, const char *name)
{
	assert_int_equal(s->regions.n_heaps, 1);
	assert_string_equal(s->regions.heaps[0].name, name);
	assert_int_equal(s->regions.heaps[0].inconsistent, 0);
	assert_true(s->regions.heaps[0].checked > 0);
	return &s->regions.heaps[0];
}

static uint64_t claimed(const struct scene *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->regions.n_ranges; i++)
		sum += s->regions.ranges[i].end - s->regions.ranges[i].start;
	return sum;
}

static void expect_block(int r, const struct regions_block *b, uint64_t start, uint64_t size,
                         enum regions_block_state state)
{
	assert_int_equal(r, 1);
	assert_int_equal(b->start, start);
	assert_int_equal(b->size, size);
	assert_int_equal(b->state, state);
}

static void jemalloc_block(struct scene *s, uint64_t addr, uint64_t start, uint64_t size,
                           enum regions_block_state state)
{
	struct regions_block b;
	struct error err;

	expect_block(jemalloc_label_find(&s->memory, &s->in, "", addr, &b, &err), &b, start, size,
	             state);
}

static void check_jemalloc(enum heapimage_form form, const char *name)
{
	cleanup(scene_clear) struct scene s;
	const uint64_t heap = HEAPIMAGE_HEAP;
	const struct regions_heap *h;
	struct regions_block b;
	struct error err;

	scene_make(&s, form);
	assert_int_equal(jemalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
	h = only(&s, name);
	/* 54 of 64 bytes, 256 of 48 bytes, one of 32 KiB */
	assert_int_equal(h->in_use_bytes, 54 * 64 + 256 * 48 + 32768);
	assert_int_equal(h->cached_bytes, 2 * 64);
	assert_int_equal(regions_value(h, "active_bytes"), 13 * 4096);
	assert_int_equal(regions_value(h, "dirty_bytes"), 3 * 4096);
	assert_int_equal(regions_value(h, "purge_bytes"), 0); /* they are not in memory */
	assert_int_equal(regions_value(h, "retained_bytes"), 16 * 4096);
	assert_int_equal(regions_value(h, "metadata_bytes"), 4 << 20);
	assert_int_equal(regions_value(h, "mapped_bytes"), 16 * 4096 + (4 << 20));
	assert_int_equal(claimed(&s), 32 * 4096 + (4 << 20));
	jemalloc_block(&s, heap + 64 * 30 + 5, heap + 64 * 30, 64, REGIONS_BLOCK_LIVE);
	jemalloc_block(&s, heap + 64 * 9, heap + 64 * 9, 64, REGIONS_BLOCK_FREE);
	jemalloc_block(&s, heap + 64 * 20, heap + 64 * 20, 64, REGIONS_BLOCK_CACHED);
	jemalloc_block(&s, heap + 0x1000 + 47, heap + 0x1000, 48, REGIONS_BLOCK_LIVE);
	jemalloc_block(&s, heap + 0x5000, heap + 0x4000, 9 * 4096, REGIONS_BLOCK_LIVE);
	jemalloc_block(&s, heap + 0xe000, heap + 0xd000, 3 * 4096, REGIONS_BLOCK_FREE);
	assert_int_equal(jemalloc_label_find(&s.memory, &s.in, "", heap + 0x20000, &b, &err), 0);
}

static void jemalloc_53(void **state)
{
	check_jemalloc(HEAPIMAGE_JEMALLOC_53, "jemalloc 5.3");
}

static void jemalloc_52(void **state)
{
	check_jemalloc(HEAPIMAGE_JEMALLOC_52, "jemalloc 5.2");
}

/* A slab whose bitmap says another number than its count is one contradiction. */
static void contradiction(void **state)
{
	cleanup(scene_clear) struct scene s;
	struct error err;

	scene_make(&s, HEAPIMAGE_JEMALLOC_53);
	heapimage_put(&s.image, HEAPIMAGE_EDATA + 64, 0x1ff);
	assert_int_equal(jemalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
	assert_int_equal(s.regions.n_heaps, 1);
	/* and the two cached items are in no slab that is known */
	assert_int_equal(s.regions.heaps[0].inconsistent, 1 + 2);
	assert_int_equal(s.regions.heaps[0].in_use_bytes, 256 * 48 + 32768);
}

/* A jemalloc without statistics has no ring of caches: they are found in the TLS. */
static void without_ring(void **state)
{
	cleanup(scene_clear) struct scene s;
	struct thread thread = { .tid = 1, .tcb = HEAPIMAGE_TLS + 0x4000 };
	struct threads threads = { .items = &thread, .n_items = 1 };
	struct error err;

	scene_make(&s, HEAPIMAGE_JEMALLOC_53);
	heapimage_put(&s.image, HEAPIMAGE_ARENA + 0x2808, 0);
	assert_int_equal(jemalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
	assert_int_equal(only(&s, "jemalloc 5.3")->cached_bytes, -1);
	regions_clear(&s.regions);
	s.in.threads = &threads;
	assert_int_equal(jemalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
	assert_int_equal(only(&s, "jemalloc 5.3")->cached_bytes, 2 * 64);
	jemalloc_block(&s, HEAPIMAGE_HEAP + 64 * 21, HEAPIMAGE_HEAP + 64 * 21, 64,
	               REGIONS_BLOCK_CACHED);
}

static void tcmalloc_block(struct scene *s, uint64_t addr, uint64_t start, uint64_t size,
                           enum regions_block_state state)
{
	struct regions_block b;
	struct error err;

	expect_block(tcmalloc_label_find(&s->memory, &s->in, "", addr, &b, &err), &b, start, size,
	             state);
}

static void tcmalloc(void **state)
{
	cleanup(scene_clear) struct scene s;
	const uint64_t heap = HEAPIMAGE_HEAP;
	const struct regions_heap *h;
	struct error err;

	scene_make(&s, HEAPIMAGE_TCMALLOC);
	assert_int_equal(tcmalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
	h = only(&s, "tcmalloc (gperftools)");
	assert_int_equal(h->in_use_bytes, (126 - 1 - 4) * 64 + 3 * 8192);
	assert_int_equal(h->cached_bytes, 64);
	assert_int_equal(regions_value(h, "heap_bytes"), 8 * 8192);
	assert_int_equal(regions_value(h, "pageheap_free_bytes"), 4 * 8192);
	assert_int_equal(regions_value(h, "release_bytes"), 0); /* nor these */
	assert_int_equal(regions_value(h, "central_free_bytes"), 2 * 64);
	assert_int_equal(regions_value(h, "transfer_free_bytes"), 4 * 64);
	tcmalloc_block(&s, heap + 700 - 60, heap + 640, 64, REGIONS_BLOCK_CACHED);
	tcmalloc_block(&s, heap + 128, heap + 128, 64, REGIONS_BLOCK_FREE);
	tcmalloc_block(&s, heap + 1280 + 192, heap + 1472, 64, REGIONS_BLOCK_FREE);
	tcmalloc_block(&s, heap + 6400, heap + 6400, 64, REGIONS_BLOCK_LIVE);
	tcmalloc_block(&s, heap + 0x4001, heap + 0x2000, 3 * 8192, REGIONS_BLOCK_LIVE);
	tcmalloc_block(&s, heap + 0x8001, heap + 0x8000, 4 * 8192, REGIONS_BLOCK_FREE);
}

static void mimalloc_block(struct scene *s, uint64_t addr, uint64_t start, uint64_t size,
                           enum regions_block_state state)
{
	struct regions_block b;
	struct error err;

	expect_block(mimalloc_label_find(&s->memory, &s->in, addr, &b, &err), &b, start, size,
	             state);
}

static void mimalloc(void **state)
{
	cleanup(scene_clear) struct scene s;
	const uint64_t first = HEAPIMAGE_HEAP + 0x10000; /* blocks begin at 384 modulo 64 */
	const struct regions_heap *h;
	struct error err;

	scene_make(&s, HEAPIMAGE_MIMALLOC);
	assert_int_equal(mimalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
	h = only(&s, "mimalloc 2");
	assert_int_equal(h->in_use_bytes, (300 - 3) * 64 + 2 * 131072);
	assert_int_equal(regions_value(h, "used_bytes"), 300 * 64 + 2 * 131072);
	assert_int_equal(regions_value(h, "foreign_free_bytes"), 3 * 64);
	assert_int_equal(regions_value(h, "segment_bytes"), 32 << 20);
	mimalloc_block(&s, first + 384 + 640 + 9, first + 384 + 640, 64, REGIONS_BLOCK_FREE);
	mimalloc_block(&s, first + 384 + 64 * 50, first + 384 + 64 * 50, 64, REGIONS_BLOCK_FREE);
	mimalloc_block(&s, first + 6400, first + 6400, 64, REGIONS_BLOCK_LIVE);
}

/* The others' heaps are not taken for one's own. */
static void not_mine(void **state)
{
	for (unsigned form = 0; form < HEAPIMAGE_FORMS; form++) {
		cleanup(scene_clear) struct scene s;
		struct error err;

		scene_make(&s, form);
		if (form > HEAPIMAGE_JEMALLOC_52)
			assert_int_equal(
				jemalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
		if (form != HEAPIMAGE_TCMALLOC)
			assert_int_equal(
				tcmalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
		if (form != HEAPIMAGE_MIMALLOC)
			assert_int_equal(
				mimalloc_label_memory(&s.memory, &s.in, "", &s.regions, &err), 0);
		assert_int_equal(s.regions.n_heaps, 0);
	}
}

/* Lists and leaves that come back to themselves end. */
static void circles(void **state)
{
	cleanup(scene_clear) struct scene a, b;
	struct error err;

	scene_make(&a, HEAPIMAGE_MIMALLOC);
	heapimage_put(&a.image, HEAPIMAGE_HEAP + 0x10000 + 384,
	              HEAPIMAGE_HEAP + 0x10000 + 384 + 640);
	assert_int_equal(mimalloc_label_memory(&a.memory, &a.in, "", &a.regions, &err), 0);
	assert_int_equal(a.regions.heaps[0].inconsistent, 1);
	scene_make(&b, HEAPIMAGE_JEMALLOC_53);
	heapimage_put(&b.image, HEAPIMAGE_ROOT, HEAPIMAGE_LEAF);
	heapimage_put(&b.image, HEAPIMAGE_ROOT + 16, HEAPIMAGE_LEAF);
	assert_int_equal(jemalloc_label_memory(&b.memory, &b.in, "", &b.regions, &err), 0);
	assert_int_equal(b.regions.heaps[0].inconsistent, 2);
}

/* It keeps what it has read. */
static void again(struct heap_memory *m, const struct heap_memory_picture *picture)
{
	heap_memory_clear(m);
	*m = (struct heap_memory){ .pictures = picture, .n_pictures = 1 };
}

/* A library whose .bss has somebody else's memory right behind it, in one mapping. */
static void data_of_a_module(void **state)
{
	static struct {
		Elf64_Ehdr e;
		Elf64_Phdr p[3];
		uint8_t rest[4096 - sizeof(Elf64_Ehdr) - 3 * sizeof(Elf64_Phdr)];
	} page = {
		.e = { .e_ident = ELFMAG,
		       .e_phoff = sizeof(Elf64_Ehdr),
		       .e_phentsize = sizeof(Elf64_Phdr),
		       .e_phnum = 3 },
		.p = { { .p_type = PT_LOAD, .p_flags = PF_R, .p_memsz = 0x1000 },
		       { .p_type = PT_LOAD,
		         .p_flags = PF_R | PF_W,
		         .p_offset = 0x2000,
		         .p_vaddr = 0x3008,
		         .p_memsz = 0x2100 },
		       { .p_type = PT_GNU_RELRO, .p_vaddr = 0x3008, .p_memsz = 0xff8 } },
	};
	char name[] = "lib.so", none[] = "";
	struct mapping items[] = {
		{ .start = 0x10000, .end = 0x11000, .inode = 7, .name = name },
		{ .start = 0x13000, .end = 0x15000, .offset = 0x2000, .inode = 7, .name = name },
		{ .start = 0x15000, .end = 0x20000, .name = none },
	};
	const struct maps maps = { .items = items, .n_items = ARRAY_SIZE(items) };
	const struct heap_memory_picture picture = { 0x10000, (const uint8_t *)&page, 4096 };
	cleanup(heap_memory_clear) struct heap_memory m = { .pictures = &picture, .n_pictures = 1 };
	struct regions_data d = { 0x13000, 0x20000, &items[1], false };

	module_data_cut(&m, &maps, &d);
	assert_int_equal(d.end, 0x16000);
	/* headers that say something else of another place, or nothing */
	again(&m, &picture);
	page.p[1].p_memsz = 1 << 30;
	d.end = 0x20000;
	module_data_cut(&m, &maps, &d);
	assert_int_equal(d.end, 0x20000);
	again(&m, &picture);
	page.p[1].p_memsz = 0x2100;
	page.e.e_phnum = 0xffff;
	module_data_cut(&m, &maps, &d);
	assert_int_equal(d.end, 0x20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_of_a_module), cmocka_unit_test(jemalloc_53),
		cmocka_unit_test(jemalloc_52),      cmocka_unit_test(contradiction),
		cmocka_unit_test(without_ring),     cmocka_unit_test(tcmalloc),
		cmocka_unit_test(mimalloc),         cmocka_unit_test(not_mine),
		cmocka_unit_test(circles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
