/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Hash functions and the one hash table of the tree: 64-bit key to 64-bit
 * value, open addressing, no deletion. Whoever looks up by something else
 * hashes it to the key and keeps the objects in an array (see
 * profile/strings.c): equal hashes of different objects are the caller's
 * business, see hash_map_next().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* splitmix64's finaliser */
static inline uint64_t hash_u64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);

struct hash_map {
	struct hash_slot *slots;
	size_t n, cap; /* cap is 0 or a power of two */
};

struct hash_slot {
	uint64_t key, value;
	bool used;
};

/* { 0 } is an empty map. */
void hash_map_clear(struct hash_map *m);

/* The value stored under @key, or NULL. The pointer is valid until the next
 * hash_map_put() or hash_map_add(). */
uint64_t *hash_map_get(const struct hash_map *m, uint64_t key);

/* Set @key to @value, replacing an older value. */
int hash_map_put(struct hash_map *m, uint64_t key, uint64_t value, struct error *err);

/* As hash_map_put(), but keeps older entries of the same key (a multimap). */
int hash_map_add(struct hash_map *m, uint64_t key, uint64_t value, struct error *err);

/* Walk all values stored under @key: start with *pos = 0; NULL at the end. */
uint64_t *hash_map_next(const struct hash_map *m, uint64_t key, size_t *pos);
