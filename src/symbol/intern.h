/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Strings that live as long as their owner, each kept once. */

#include <stddef.h>

#include "base/hash.h"

struct intern {
	char **items;
	size_t n_items, cap_items;
	struct hash_map by_hash; /* hash -> index, a multimap */
};

/* { 0 } is empty. */
void intern_clear(struct intern *in);

/* The kept copy of @len bytes at @s, or NULL: out of memory. */
const char *intern_put(struct intern *in, const char *s, size_t len);
