/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/strings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/array.h"
#include "base/clock.h"

enum { BLOCK_BYTES = 64 * 1024 };

struct strings_block {
	struct strings_block *next;
	size_t used, size;
	char bytes[];
};

void strings_init(struct strings *s, uint64_t seed)
{
	*s = (struct strings){ .seed = seed };
}

void strings_clear(struct strings *s)
{
	while (s->blocks) {
		struct strings_block *next = s->blocks->next;

		free(s->blocks);
		s->blocks = next;
	}
	free(s->texts);
	hash_map_clear(&s->ids);
	strings_init(s, s->seed);
}

static struct strings_block *block_new(struct strings *s, size_t size)
{
	struct strings_block *b = malloc(sizeof(*b) + size);

	if (!b)
		return NULL;
	b->used = 0;
	b->size = size;
	/* a long text's own block goes behind the one that has room left */
	if (s->blocks && size > BLOCK_BYTES) {
		b->next = s->blocks->next;
		s->blocks->next = b;
	} else {
		b->next = s->blocks;
		s->blocks = b;
	}
	return b;
}

static char *store(struct strings *s, const char *text, size_t len)
{
	struct strings_block *b = s->blocks;
	char *to;

	if (len >= BLOCK_BYTES)
		b = block_new(s, len + 1);
	else if (!b || b->size - b->used < len + 1)
		b = block_new(s, BLOCK_BYTES);
	if (!b)
		return NULL;
	to = b->bytes + b->used;
	memcpy(to, text, len);
	to[len] = '\0';
	b->used += len + 1;
	return to;
}

static int append(struct strings *s, const char *text, size_t len, uint64_t hash, uint32_t *ret,
                  struct error *err)
{
	char *stored;
	int r;

	if (s->n_texts >= UINT32_MAX)
		return error_set(err, E2BIG, "more than 2^32 different names");
	r = array_reserve(&s->texts, &s->cap_texts, s->n_texts + 1, err);
	if (r < 0)
		return r;
	stored = store(s, text, len);
	if (!stored)
		return error_oom(err);
	r = hash_map_add(&s->ids, hash, s->n_texts, err);
	if (r < 0)
		return r;
	s->texts[s->n_texts] = stored;
	*ret = (uint32_t)s->n_texts++;
	return 0;
}

int strings_intern(struct strings *s, const char *text, size_t len, uint32_t *ret,
                   struct error *err)
{
	uint64_t hash, *id;
	uint32_t zero;
	size_t pos = 0;

	if (!s->n_texts) {
		int r = append(s, "", 0, hash_bytes("", 0, s->seed), &zero, err);

		if (r < 0)
			return r;
	}
	len = len ? strnlen(text, len) : 0;
	hash = hash_bytes(text, len, s->seed);
	while ((id = hash_map_next(&s->ids, hash, &pos))) {
		const char *have = s->texts[*id];

		if (strncmp(have, text, len) == 0 && have[len] == '\0') {
			*ret = (uint32_t)*id;
			return 0;
		}
	}
	return append(s, text, len, hash, ret, err);
}

const char *strings_text(const struct strings *s, uint32_t id)
{
	return id < s->n_texts ? s->texts[id] : "";
}

uint64_t strings_random(void)
{
	uint64_t seed;

	/* early at boot there may be no entropy: never wait for it */
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
		seed = hash_u64(clock_now_ns());
	return seed;
}
