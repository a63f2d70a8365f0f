/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "target/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted is sorted, apart, and found again. */
static void check(const struct maps *m)
{
	for (size_t i = 0; i < m->n_items; i++) {
		const struct mapping *one = &m->items[i];

		if (one->start >= one->end || !one->name || strlen(one->name) > 1 << 24)
			abort();
		if (i && m->items[i - 1].end > one->start)
			abort();
		if (maps_find(m, one->start) != one || maps_find(m, one->end - 1) != one)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(maps_clear) struct maps m = { 0 };
	cleanup_free char *copy = malloc(size + 1); /* exactly sized: one byte more is seen */
	struct error err;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (maps_parse(copy, size, &m, &err) == 0)
		check(&m);
	else if (m.items)
		abort();
	return 0;
}
