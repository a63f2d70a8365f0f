/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t h = seed ^ (len * 0x9e3779b97f4a7c15ULL);

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		h = hash_u64(h ^ word) + 0x9e3779b97f4a7c15ULL;
	}
	if (len) {
		uint64_t word = 0;

		memcpy(&word, p, len);
		h = hash_u64(h ^ word);
	}
	return hash_u64(h);
}

void hash_map_clear(struct hash_map *m)
{
	free(m->slots);
	*m = (struct hash_map){ 0 };
}

uint64_t *hash_map_next(const struct hash_map *m, uint64_t key, size_t *pos)
{
	size_t start = hash_u64(key);

	for (; *pos < m->cap; ++*pos) {
		struct hash_slot *slot = &m->slots[(start + *pos) & (m->cap - 1)];

		if (!slot->used)
			return NULL;
		if (slot->key == key) {
			++*pos;
			return &slot->value;
		}
	}
	return NULL;
}

uint64_t *hash_map_get(const struct hash_map *m, uint64_t key)
{
	size_t pos = 0;

	return hash_map_next(m, key, &pos);
}

static void insert(struct hash_map *m, uint64_t key, uint64_t value)
{
	size_t i = hash_u64(key);

	while (m->slots[i & (m->cap - 1)].used)
		i++;
	m->slots[i & (m->cap - 1)] = (struct hash_slot){ key, value, true };
	m->n++;
}

static int grow(struct hash_map *m, struct error *err)
{
	struct hash_map bigger = { .cap = m->cap ? m->cap * 2 : 64 };

	if (m->n + 1 <= m->cap / 4 * 3)
		return 0;
	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return error_oom(err);
	for (size_t i = 0; i < m->cap; i++) {
		if (m->slots[i].used)
			insert(&bigger, m->slots[i].key, m->slots[i].value);
	}
	free(m->slots);
	*m = bigger;
	return 0;
}

int hash_map_add(struct hash_map *m, uint64_t key, uint64_t value, struct error *err)
{
	int r = grow(m, err);

	if (r < 0)
		return r;
	insert(m, key, value);
	return 0;
}

int hash_map_put(struct hash_map *m, uint64_t key, uint64_t value, struct error *err)
{
	uint64_t *old = hash_map_get(m, key);

	if (!old)
		return hash_map_add(m, key, value, err);
	*old = value;
	return 0;
}
