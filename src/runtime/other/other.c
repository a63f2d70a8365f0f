/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/other/other.h"

#include "runtime/family.h"

static int detect(const struct runtime_view *v, struct error *err)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));)
		if (family_of_malloc(symbol_module_elf(m)) == FAMILY_OTHER)
			return 1;
	return 0;
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	struct symbol_module *m;
	int r = 0;

	for (size_t pos = 0; !r && (m = runtime_next_module(v, &pos));) {
		if (family_of_malloc(symbol_module_elf(m)) != FAMILY_OTHER)
			continue;
		r = family_add(to, &other_runtime, m, "", family_malloc, err);
		if (!r)
			r = family_add(to, &other_runtime, m, "", family_cxx, err);
		if (!r)
			r = family_finish(to, &other_runtime, m, err);
	}
	return r;
}

const struct runtime_ops other_runtime = {
	.name = "other",
	.title = "another malloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
};
