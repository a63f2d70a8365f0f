/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/array.h"
#include "map/ladder_internal.h"

/* What runtimes found comes first. */
static int add(struct ladder *l, const struct regions_finding *f, struct error *err)
{
	int r = array_reserve(&l->findings, &l->cap_findings, l->n_findings + 1, err);

	if (r == 0)
		l->findings[l->n_findings++] = *f;
	return r;
}

int ladder_findings_add(struct ladder_work *w, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->regions.n_findings; i++)
		r = add(&w->l, &w->regions.findings[i], err);
	return r;
}
