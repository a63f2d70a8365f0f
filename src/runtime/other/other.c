/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/other/other.h"

#include "runtime/family.h"

static int detect(const struct runtime_view *v, struct error *err)
{
	return family_detect(v, FAMILY_OTHER);
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	static const struct runtime_function *const lists[] = { family_malloc, family_cxx, NULL };

	return family_probes(v, FAMILY_OTHER, &other_runtime, lists, to, err);
}

const struct runtime_ops other_runtime = {
	.name = "other",
	.title = "another malloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
};
