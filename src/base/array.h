/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Growing a plain C array. There is no array type: a struct keeps `items`,
 * `n_items`, `cap_items`, and calls array_reserve() before it writes past n.
 *
 *	r = array_reserve(&p->samples, &p->cap_samples, p->n_samples + 1, err);
 */

#include <stddef.h>

#include "base/error.h"

/* Make room for @need elements; growth is geometric. 0 or -ENOMEM, with
 * *items and *cap unchanged. */
int array_reserve_bytes(void **items, size_t *cap, size_t need, size_t elem_bytes,
                        struct error *err);

#define array_reserve(items, cap, need, err)                                                       \
	array_reserve_bytes((void **)(items), (cap), (need), sizeof(**(items)), (err))
