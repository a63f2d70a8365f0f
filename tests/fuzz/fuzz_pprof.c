/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is read is written and read again: it must be the same profile. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "profile/pprof.h"
#include "profile/transform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(profile_freep) struct profile *p = NULL, *again = NULL, *reversed = NULL;
	struct transform_options options = { .reverse = true, .by = "size" };
	cleanup_free char *text = NULL;
	struct error err;
	size_t len;
	FILE *to;

	if (pprof_read(data, size, &p, &err) < 0)
		return 0;
	to = open_memstream(&text, &len);
	check(to && pprof_write(p, to, &err) == 0 && fclose(to) == 0);
	check(pprof_read(text, len, &again, &err) == 0);
	check(profile_n_types(again) == profile_n_types(p));
	for (size_t i = 0; i < profile_n_types(p); i++)
		check(profile_total(again, i) == profile_total(p, i));
	check(profile_report(again)->n_figures == profile_report(p)->n_figures);
	check(transform_apply(p, &options, &reversed, &err) == 0);
	return 0;
}
