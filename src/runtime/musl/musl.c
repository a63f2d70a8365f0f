/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/musl/musl.h"

#include "runtime/family.h"

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

const struct runtime_ops musl_runtime = {
	.name = "musl",
	.title = "musl's malloc",
	.detect = detect,
	.alloc_probes = alloc_probes,
};
