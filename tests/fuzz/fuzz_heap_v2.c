/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is read is written and read again: the totals must be the same. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "profile/heap_v2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(profile_freep) struct profile *p = NULL, *again = NULL;
	cleanup_free char *text = NULL;
	struct error err;
	size_t len;
	FILE *to;

	if (heap_v2_read((const char *)data, size, &p, &err) < 0)
		return 0;
	to = open_memstream(&text, &len);
	check(to && heap_v2_write(p, to, &err) == 0 && fclose(to) == 0);
	check(heap_v2_read(text, len, &again, &err) == 0);
	for (size_t i = 0; i < profile_n_types(p); i++)
		check(profile_total(again, i) == profile_total(p, i));
	return 0;
}
