/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/tcmalloc/tcmalloc.h"

#include "runtime/family.h"
#include "runtime/tcmalloc/tcmalloc_label.h"

/* Names of its own: gperftools 2.x (tcmalloc.h) and Google's tcmalloc
 * (libc_override.h, new_extension.h). Most are second names of malloc and the
 * others; the size-returning new gives {pointer, size} in two registers. */
static const struct runtime_function functions[] = {
	{ "tc_malloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_malloc_skip_new_handler", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_calloc", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "tc_realloc", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "tc_memalign", PLAN_ALLOC, 0, FAMILY_SIZE1 },
	{ "tc_posix_memalign", PLAN_ALLOC, 0, FAMILY_POSIX_MEMALIGN },
	{ "tc_valloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_pvalloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_new", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0, "tc_new_nothrow" },
	{ "tc_newarray", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0, "tc_newarray_nothrow" },
	{ "tc_new_aligned", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0, "tc_new_aligned_nothrow" },
	{ "tc_newarray_aligned", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0,
	  "tc_newarray_aligned_nothrow" },
	{ "tc_new_nothrow", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_newarray_nothrow", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_new_aligned_nothrow", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_newarray_aligned_nothrow", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "tc_free", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_cfree", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_delete", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_deletearray", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_delete_nothrow", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_deletearray_nothrow", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_delete_aligned", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_deletearray_aligned", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_delete_aligned_nothrow", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_deletearray_aligned_nothrow", PLAN_FREE, 0, FAMILY_FREE },
	{ "tc_free_sized", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "tc_delete_sized", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "tc_deletearray_sized", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "tc_delete_sized_aligned", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "tc_deletearray_sized_aligned", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "sdallocx", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "__size_returning_new", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "__size_returning_new_hot_cold", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "__size_returning_new_aligned", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "__size_returning_new_aligned_hot_cold", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "_Znwm12__hot_cold_t", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "_Znam12__hot_cold_t", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "_ZnwmSt11align_val_t12__hot_cold_t", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "_ZnamSt11align_val_t12__hot_cold_t", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0 },
	{ "_ZnwmRKSt9nothrow_t12__hot_cold_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "_ZnamRKSt9nothrow_t12__hot_cold_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "_ZnwmSt11align_val_tRKSt9nothrow_t12__hot_cold_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "_ZnamSt11align_val_tRKSt9nothrow_t12__hot_cold_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ NULL },
};

static bool is_tcmalloc(struct elf_file *f)
{
	return family_has(f, "tc_malloc") || family_has(f, "TCMallocInternalMalloc");
}

static int detect(const struct runtime_view *v, struct error *err)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));)
		if (is_tcmalloc(symbol_module_elf(m)))
			return 1;
	return 0;
}

static int add(struct runtime_probes *to, struct symbol_module *m, struct error *err)
{
	int r = 0;

	if (family_of_malloc(symbol_module_elf(m)) == FAMILY_TCMALLOC) {
		r = family_add(to, &tcmalloc_runtime, m, "", family_malloc, err);
		if (!r)
			r = family_add(to, &tcmalloc_runtime, m, "", family_cxx, err);
	}
	if (!r)
		r = family_add(to, &tcmalloc_runtime, m, "", functions, err);
	return r < 0 ? r : family_finish(to, &tcmalloc_runtime, m, err);
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	struct symbol_module *m;
	int r = 0;

	for (size_t pos = 0; !r && (m = runtime_next_module(v, &pos));)
		if (is_tcmalloc(symbol_module_elf(m)))
			r = add(to, m, err);
	return r;
}

/* gperftools 2.10, src/gperftools/malloc_extension_c.h */
static const struct runtime_trim trim = {
	.allocator = "tcmalloc",
	.kinds = (const char *const[]){ REGIONS_TCMALLOC, NULL },
	.call = "MallocExtension_ReleaseFreeMemory()",
	.figure = "release_bytes",
	.steps = { { .functions = (const char *const[]){ "MallocExtension_MarkThreadIdle", NULL },
	             .each_thread = true,
	             .caches = true },
	           { .functions = (const char *const[]){ "MallocExtension_ReleaseFreeMemory",
	                                                 NULL } } },
};

const struct runtime_ops tcmalloc_runtime = {
	.name = "tcmalloc",
	.title = "tcmalloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
	.label_regions = tcmalloc_label_regions,
	.find_block = tcmalloc_label_block,
	.trim = &trim,
};
