/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/intern.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

void intern_clear(struct intern *in)
{
	for (size_t i = 0; i < in->n_items; i++)
		free(in->items[i]);
	free(in->items);
	hash_map_clear(&in->by_hash);
	*in = (struct intern){ 0 };
}

const char *intern_put(struct intern *in, const char *s, size_t len)
{
	uint64_t hash = hash_bytes(s, len, 0), *index;
	cleanup_free char *copy = NULL;
	struct error ignored;
	size_t pos = 0;

	while ((index = hash_map_next(&in->by_hash, hash, &pos))) {
		const char *have = in->items[*index];

		if (!strncmp(have, s, len) && !have[len])
			return have;
	}
	copy = strndup(s, len);
	if (!copy || array_reserve(&in->items, &in->cap_items, in->n_items + 1, &ignored) < 0 ||
	    hash_map_add(&in->by_hash, hash, in->n_items, &ignored) < 0)
		return NULL;
	in->items[in->n_items] = take_ptr(copy);
	return in->items[in->n_items++];
}
