/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/musl/musl.h"

#include "base/cleanup.h"
#include "runtime/family.h"
#include "runtime/musl/musl_heap.h"

/* malloc, free and realloc are jumps to __libc_malloc_impl and so on (musl
 * 1.2.2 and later, src/malloc/): the probe is put there, where also the calls
 * that libc itself makes pass by. */

static int detect(const struct runtime_view *v, struct error *err)
{
	return family_detect(v, FAMILY_MUSL);
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	static const struct runtime_function *const lists[] = { family_malloc, NULL };

	return family_probes(v, FAMILY_MUSL, &musl_runtime, lists, to, err);
}

static int label_regions(const struct runtime_view *v, const struct regions_input *in,
                         struct regions *to, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	int r = peek_open(&p, v->target, err);

	return r < 0 ? r : musl_heap_label(&p, v->target->exe, in, to, err);
}

static int find_block(const struct runtime_view *v, const struct regions_input *in, uint64_t addr,
                      struct regions_block *ret, struct error *err)
{
	cleanup(peek_close) struct peek p = { 0 };
	int r = peek_open(&p, v->target, err);

	return r < 0 ? r : musl_heap_find_block(&p, v->target->exe, in, addr, ret, err);
}

static const struct runtime_trim trim = {
	.allocator = "musl",
	.kinds = (const char *const[]){ REGIONS_MUSL, NULL },
	.never = "has no function that gives free memory back: it does so by itself, or not at all",
};

const struct runtime_ops musl_runtime = {
	.name = "musl",
	.title = "musl's malloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
	.label_regions = label_regions,
	.find_block = find_block,
	.trim = &trim,
};
