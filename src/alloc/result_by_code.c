/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_by_code.h"

#include <stdio.h>
#include <string.h>

static void add(struct symbol_module *m, char *text, size_t size)
{
	size_t n, at = strlen(text);
	const char *title = symbol_module_found(m, &n);

	if (n && !strstr(text, title))
		snprintf(text + at, size - at, "%s%s (%zu functions)", at ? ", " : "", title, n);
}

int result_by_code_put(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	char text[512] = "";

	for (size_t i = 0; i < r->n_tracees; i++)
		for (size_t k = 0; k < r->tracees[i]->probes.n_probes; k++)
			add(r->tracees[i]->probes.probes[k].module, text, sizeof(text));
	return text[0] ? report_text(to, "found_by_code", "allocator found by its code", text, err)
	               : 0;
}
