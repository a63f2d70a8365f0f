/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_changes.h"

static bool is_same(const struct go_objects_span *a, const struct go_objects_span *b)
{
	/* a sweep gives a span new bits, an allocation moves its index */
	return a->end == b->end && a->elemsize == b->elemsize && a->taken == b->taken &&
	       a->free_index == b->free_index && a->alloc_bits == b->alloc_bits;
}

static uint64_t taken_bytes(const struct go_objects_span *s)
{
	return s->taken * s->elemsize;
}

uint64_t go_changes_bytes(const struct go_objects *before, const struct go_objects *after)
{
	const struct go_objects_span *a = before->spans, *b = after->spans;
	size_t i = 0, k = 0;
	uint64_t n = 0;

	while (i < before->n_spans || k < after->n_spans) {
		if (k == after->n_spans || (i < before->n_spans && a[i].start < b[k].start)) {
			n += taken_bytes(&a[i++]);
		} else if (i == before->n_spans || b[k].start < a[i].start) {
			n += taken_bytes(&b[k++]);
		} else {
			uint64_t x = taken_bytes(&a[i]), y = taken_bytes(&b[k]);

			if (!is_same(&a[i++], &b[k++]))
				n += x > y ? x : y;
		}
	}
	return n;
}
