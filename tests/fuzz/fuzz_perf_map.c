/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "symbol/perf_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(spans_clear) struct spans spans = { 0 };
	cleanup_free char *text = malloc(size + 1);
	struct error err;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (perf_map_parse(text, &spans, &err) < 0)
		return 0;
	for (size_t i = 0; i < spans.n_items; i++) {
		const struct span *one = &spans.items[i], *found;

		if (one->start >= one->end || one->name < text || one->name >= text + size)
			abort();
		found = spans_highest(&spans, one->end - 1);
		/* the last line that covers it */
		if (!found || found->rank < one->rank || found->start > one->end - 1 ||
		    found->end < one->end)
			if (spans.n_items < SPANS_MAX_WALK)
				abort();
	}
	return 0;
}
