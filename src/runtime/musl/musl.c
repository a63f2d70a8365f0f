/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/musl/musl.h"

#include "runtime/family.h"

/* malloc, free and realloc are jumps to __libc_malloc_impl and so on (musl
 * 1.2.2 and later, src/malloc/): the probe is put there, where also the calls
 * that libc itself makes pass by. */

static int detect(const struct runtime_view *v, struct error *err)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));)
		if (family_of_malloc(symbol_module_elf(m)) == FAMILY_MUSL)
			return 1;
	return 0;
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	struct symbol_module *m;
	int r = 0;

	for (size_t pos = 0; !r && (m = runtime_next_module(v, &pos));) {
		if (family_of_malloc(symbol_module_elf(m)) != FAMILY_MUSL)
			continue;
		r = family_add(to, &musl_runtime, m, "", family_malloc, err);
		if (!r)
			r = family_finish(to, &musl_runtime, m, err);
	}
	return r;
}

const struct runtime_ops musl_runtime = {
	.name = "musl",
	.title = "musl's malloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
};
