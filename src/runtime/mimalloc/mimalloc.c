/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/mimalloc/mimalloc.h"

#include "runtime/family.h"
#include "runtime/mimalloc/mimalloc_label.h"

/* mi_heap_ functions have the heap as argument 0. */
#define HEAP_SIZE     "RET PTR ARG1 SIZE END"
#define HEAP_COUNT    "RET PTR ARG1 MUL2 SIZE END"
#define HEAP_REALLOC  "ARG1 OLD END RET PTR ARG2 SIZE END"
#define HEAP_REALLOCF "ARG1 OLD END RET PTR SKZ1 ARG2 SIZE END"
/* as FAMILY_REALLOCARRAY */
#define HEAP_REALLOCN "ARG1 OLD END RET PTR SKZ4 ARG2 MUL3 SIZE END ARG2 SKZ1 ARG3 SIZE END"
/* reallocarr(&p, count, size): 0 or an error, and then *p is as before. The
 * block before the call is what *p is at entry. */
#define REALLOCARR                                                                                 \
	"ARG0 SKZ1 LD8:0 OLD END "                                                                 \
	"RET SKZ5 IMM0 PTR IMM1 SIZE END ARG0 LD8:0 PTR ARG1 MUL2 SIZE END"

/* mimalloc.h of 1.7 to 2.3 and 3.3; mi_theap_ of 3.1 and later, which has the thread's heap as
 * argument 0 */
static const struct runtime_function functions[] = {
	{ "mi_malloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_malloc_small", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_zalloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_zalloc_small", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_calloc", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "mi_mallocn", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "mi_realloc", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_rezalloc", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_expand", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi__expand", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_reallocf", PLAN_REALLOC, 0, FAMILY_REALLOCF },
	{ "mi_reallocn", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "mi_recalloc", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "mi_reallocarray", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "mi_reallocarr", PLAN_REALLOC, 0, REALLOCARR },
	{ "mi_malloc_aligned", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_malloc_aligned_at", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_zalloc_aligned", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_zalloc_aligned_at", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_calloc_aligned", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "mi_calloc_aligned_at", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "mi_realloc_aligned", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_realloc_aligned_at", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_rezalloc_aligned", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_rezalloc_aligned_at", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_recalloc_aligned", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "mi_recalloc_aligned_at", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "mi_aligned_recalloc", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "mi_aligned_offset_recalloc", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "mi_posix_memalign", PLAN_ALLOC, 0, FAMILY_POSIX_MEMALIGN },
	{ "mi_memalign", PLAN_ALLOC, 0, FAMILY_SIZE1 },
	{ "mi_aligned_alloc", PLAN_ALLOC, 0, FAMILY_SIZE1 },
	{ "mi_valloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_pvalloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_heap_malloc", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_heap_malloc_small", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_heap_zalloc", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_heap_calloc", PLAN_ALLOC, 0, HEAP_COUNT },
	{ "mi_heap_mallocn", PLAN_ALLOC, 0, HEAP_COUNT },
	{ "mi_heap_malloc_aligned", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_heap_malloc_aligned_at", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_heap_zalloc_aligned", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_heap_zalloc_aligned_at", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_heap_calloc_aligned", PLAN_ALLOC, 0, HEAP_COUNT },
	{ "mi_heap_calloc_aligned_at", PLAN_ALLOC, 0, HEAP_COUNT },
	{ "mi_heap_realloc", PLAN_REALLOC, 0, HEAP_REALLOC },
	{ "mi_heap_rezalloc", PLAN_REALLOC, 0, HEAP_REALLOC },
	{ "mi_heap_reallocf", PLAN_REALLOC, 0, HEAP_REALLOCF },
	{ "mi_heap_reallocn", PLAN_REALLOC, 0, HEAP_REALLOCN },
	{ "mi_heap_recalloc", PLAN_REALLOC, 0, HEAP_REALLOCN },
	{ "mi_heap_realloc_aligned", PLAN_REALLOC, 0, HEAP_REALLOC },
	{ "mi_heap_realloc_aligned_at", PLAN_REALLOC, 0, HEAP_REALLOC },
	{ "mi_heap_rezalloc_aligned", PLAN_REALLOC, 0, HEAP_REALLOC },
	{ "mi_heap_rezalloc_aligned_at", PLAN_REALLOC, 0, HEAP_REALLOC },
	{ "mi_heap_recalloc_aligned", PLAN_REALLOC, 0, HEAP_REALLOCN },
	{ "mi_heap_recalloc_aligned_at", PLAN_REALLOC, 0, HEAP_REALLOCN },
	{ "mi_heap_zalloc_small", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_theap_malloc", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_theap_malloc_small", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_theap_malloc_aligned", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_theap_zalloc", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_theap_zalloc_small", PLAN_ALLOC, 0, HEAP_SIZE },
	{ "mi_theap_calloc", PLAN_ALLOC, 0, HEAP_COUNT },
	{ "mi_theap_realloc", PLAN_REALLOC, 0, HEAP_REALLOC },
	{ "mi_umalloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_umalloc_small", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_umalloc_aligned", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_uzalloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_uzalloc_small", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_uzalloc_aligned", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_ucalloc", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "mi_urealloc", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "mi_new_nothrow", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_new_aligned_nothrow", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "mi_new", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0, "mi_malloc" },
	{ "mi_new_aligned", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0, "mi_malloc_aligned" },
	{ "mi_new_n", PLAN_ALLOC, PLAN_THROWS, FAMILY_CALLOC, "mi_mallocn" },
	{ "mi_heap_alloc_new", PLAN_ALLOC, PLAN_THROWS, HEAP_SIZE, "mi_heap_malloc" },
	{ "mi_heap_alloc_new_n", PLAN_ALLOC, PLAN_THROWS, HEAP_COUNT, "mi_heap_mallocn" },
	{ "mi_new_realloc", PLAN_REALLOC, PLAN_THROWS, FAMILY_REALLOC, "mi_realloc" },
	{ "mi_new_reallocn", PLAN_REALLOC, PLAN_THROWS, FAMILY_REALLOCARRAY, "mi_reallocn" },
	{ "mi_free", PLAN_FREE, 0, FAMILY_FREE },
	{ "mi_cfree", PLAN_FREE, 0, FAMILY_FREE },
	{ "mi_free_small", PLAN_FREE, 0, FAMILY_FREE },
	{ "mi_ufree", PLAN_FREE, 0, FAMILY_FREE },
	{ "mi_free_aligned", PLAN_FREE, 0, FAMILY_FREE },
	{ "mi_free_size", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "mi_free_size_aligned", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ NULL },
};

/* Names that it has besides those of family_malloc when it is malloc
 * (alloc-override.c). */
static const struct runtime_function override[] = {
	{ "reallocf", PLAN_REALLOC, 0, FAMILY_REALLOCF },
	{ "reallocarray", PLAN_REALLOC, 0, FAMILY_REALLOCARRAY },
	{ "reallocarr", PLAN_REALLOC, 0, REALLOCARR },
	{ "_aligned_malloc", PLAN_ALLOC, 0, FAMILY_SIZE1 },
	{ "vfree", PLAN_FREE, 0, FAMILY_FREE },
	{ NULL },
};

static int detect(const struct runtime_view *v, struct error *err)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));)
		if (family_has(symbol_module_elf(m), "mi_malloc"))
			return 1;
	return 0;
}

static int add(struct runtime_probes *to, struct symbol_module *m, struct error *err)
{
	struct elf_file *f = symbol_module_elf(m);
	bool is_malloc = family_of_malloc(f) == FAMILY_MIMALLOC;
	int r = 0;

	if (is_malloc)
		r = family_add(to, &mimalloc_runtime, m, "", family_malloc, err);
	if (!r)
		r = family_add(to, &mimalloc_runtime, m, "", functions, err);
	if (!r && is_malloc)
		r = family_add(to, &mimalloc_runtime, m, "", override, err);
	if (!r && is_malloc)
		r = family_add(to, &mimalloc_runtime, m, "", family_cxx, err);
	if (!r && family_has(f, "mi_heap_destroy"))
		r = runtime_add_gap(
			to, "mi_heap_destroy",
			"frees a heap's blocks all at once: they would stay in the result", err);
	/* a plan cannot count a string; they call what is inside */
	if (!r && family_has(f, "mi_strdup"))
		r = runtime_add_gap(
			to, "mi_strdup",
			"its blocks are as long as a string, and not recorded; so are those of "
			"mi_realpath, and of strdup where that is mimalloc's",
			err);
	return r < 0 ? r : family_finish(to, &mimalloc_runtime, m, err);
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	struct symbol_module *m;
	int r = 0;

	for (size_t pos = 0; !r && (m = runtime_next_module(v, &pos));)
		if (family_has(symbol_module_elf(m), "mi_malloc"))
			r = add(to, m, err);
	return r;
}

/* mimalloc 2, src/heap.c: of the calling thread's heap, and of what ended threads left. */
static const struct runtime_trim trim = {
	.allocator = "mimalloc",
	.kinds = (const char *const[]){ REGIONS_MIMALLOC, NULL },
	.call = "mi_collect(true) in each thread",
	.figure = "collect_bytes",
	.steps = { { .functions = (const char *const[]){ "mi_collect", NULL },
	             .args = { true },
	             .each_thread = true } },
};

const struct runtime_ops mimalloc_runtime = {
	.name = "mimalloc",
	.title = "mimalloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
	.label_regions = mimalloc_label_regions,
	.find_block = mimalloc_label_block,
	.trim = &trim,
};
