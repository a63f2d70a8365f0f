/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Interned strings: equal texts have one id, and id 0 is "". Texts live in
 * blocks that are never moved, so a pointer from strings_text() stays valid as
 * long as the whole store. Hashes are seeded at random: names come from
 * targets and files that may be hostile.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

struct strings {
	const char **texts; /* by id; texts[0] is "" once the first is interned */
	size_t n_texts, cap_texts;
	struct strings_block *blocks;
	struct hash_map ids; /* hash of the text -> id */
	uint64_t seed;
};

/* @seed: see strings_random(). Nothing is allocated. */
void strings_init(struct strings *s, uint64_t seed);
void strings_clear(struct strings *s);

/* Id of the @len bytes at @text, which end early at a NUL. -ENOMEM, or -E2BIG
 * when 2^32 - 1 ids are used. */
int strings_intern(struct strings *s, const char *text, size_t len, uint32_t *ret,
                   struct error *err);

/* "" for ids that do not exist. */
const char *strings_text(const struct strings *s, uint32_t id);

/* A number that a foreign file cannot have been written for. */
uint64_t strings_random(void);
