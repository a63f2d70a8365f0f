/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc.h"

#include "base/cleanup.h"
#include "runtime/family.h"
#include "runtime/glibc/glibc_heap.h"

/* The word before a block is its chunk's size, in bytes, header included; the
 * low 3 bits are flags, of which 2 is "a mapping of its own". Usable are 8 less,
 * in such a mapping 16 less (glibc 2.26 to 2.42, malloc/malloc.c: chunksize(),
 * memsize(), mchunk_ptr). */
#define OLDER_BYTES                                                                                \
	"ARG0 SKNZ1 END LD8:-8 ST0 ANDI-8 ADDI-8 SIZE ST1 LDT0 ANDI2 SKNZ1 END LDT1 ADDI-8 SIZE "  \
	"END"

/* By their second names: the same addresses, unless the program has a malloc of
 * its own beside a static glibc. */
static const struct runtime_function functions[] = {
	{ "__libc_malloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "__libc_calloc", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "__libc_realloc", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "__libc_memalign", PLAN_ALLOC, 0, FAMILY_SIZE1 },
	{ "__libc_valloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "__libc_pvalloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "__posix_memalign", PLAN_ALLOC, 0, FAMILY_POSIX_MEMALIGN },
	{ "__libc_free", PLAN_FREE, 0, FAMILY_FREE " " OLDER_BYTES },
	{ NULL },
};

static const struct runtime_function plain_free[] = {
	{ "free", PLAN_FREE, 0, FAMILY_FREE " " OLDER_BYTES },
	{ NULL },
};

static bool is_glibc(struct elf_file *f)
{
	return family_has(f, "__libc_malloc") &&
	       (family_has(f, "gnu_get_libc_version") || family_has(f, "_int_malloc"));
}

static int detect(const struct runtime_view *v, struct error *err)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));)
		if (is_glibc(symbol_module_elf(m)))
			return 1;
	return 0;
}

static int add(struct runtime_probes *to, struct symbol_module *m, struct error *err)
{
	int r = 0;

	if (family_of_malloc(symbol_module_elf(m)) == FAMILY_GLIBC) {
		r = family_add(to, &glibc_runtime, m, "", plain_free, err);
		if (!r)
			r = family_add(to, &glibc_runtime, m, "", family_malloc, err);
	}
	if (!r)
		r = family_add(to, &glibc_runtime, m, "", functions, err);
	return r < 0 ? r : family_finish(to, &glibc_runtime, m, err);
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	struct symbol_module *m;
	int r = 0;

	for (size_t pos = 0; !r && (m = runtime_next_module(v, &pos));)
		if (is_glibc(symbol_module_elf(m)))
			r = add(to, m, err);
	return r;
}

static int label_regions(const struct runtime_view *v, const struct regions_input *in,
                         struct regions *to, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	int r = peek_open(&p, v->target, err);

	return r < 0 ? r : glibc_heap_label(&p, v->target->exe, in, to, err);
}

static int find_block(const struct runtime_view *v, const struct regions_input *in, uint64_t addr,
                      struct regions_block *ret, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	int r = peek_open(&p, v->target, err);

	return r < 0 ? r : glibc_heap_find_block(&p, v->target->exe, in, addr, ret, err);
}

/* A chunk (malloc.c, request2size): a word for its size, multiples of 16, 32 at least. Blocks
 * of M_MMAP_THRESHOLD and more are mappings of their own, in whole pages; the threshold moves
 * between 128 KiB and 32 MiB, so between these the last page's rest is not counted. */
static uint64_t block_bytes(uint64_t size)
{
	const uint64_t chunk = (size + 8 + 15) & ~15ull;

	if (size >= 32ull << 20)
		return (size + 16 + 4095) & ~4095ull;
	return chunk < 32 ? 32 : chunk;
}

/* malloc/malloc.c: all arenas, their free chunks' whole pages and the main one's top. */
static const struct runtime_trim trim = {
	.allocator = "glibc",
	.kinds = (const char *const[]){ REGIONS_GLIBC_ARENA, REGIONS_GLIBC_MMAPPED, NULL },
	.call = "malloc_trim(0)",
	.figure = "trim_bytes",
	.cached_is_used = true,
	.steps = { { .functions = (const char *const[]){ "malloc_trim", NULL } } },
};

const struct runtime_ops glibc_runtime = {
	.name = "libc",
	.title = "glibc's malloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
	.label_regions = label_regions,
	.block_bytes = block_bytes,
	.find_block = find_block,
	.trim = &trim,
};
