/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/worker_stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "serve/trigger_stacks.h"

struct stacks {
	struct hash_map by_id; /* -> index */
	struct trigger_stack *items;
	size_t n;
};

static void stacks_clear(struct stacks *s)
{
	hash_map_clear(&s->by_id);
	free(s->items);
}

static uint64_t hash_text(const struct profile *p, uint32_t id, uint64_t seed)
{
	const char *text = profile_text(p, id);

	return hash_bytes(text, strlen(text), seed);
}

/* By functions, as pictures show it: a function that calls from two places is one path. */
static uint64_t id_of(const struct profile *p, const struct profile_sample *s)
{
	uint64_t h = s->n_frames;

	for (size_t i = 0; i < s->n_frames; i++) {
		const struct profile_frame *f = profile_frame_at(p, s->frames[i]);

		h = hash_text(p, f->module, h);
		h = f->name ? hash_text(p, f->name, h) : hash_u64(h ^ f->offset);
	}
	return h;
}

/* Samples of one stack differ by labels (thread, size). */
static int add(struct stacks *s, uint64_t id, int64_t bytes, struct error *err)
{
	const uint64_t *known = hash_map_get(&s->by_id, id);

	if (known) {
		s->items[*known].held_bytes += bytes;
		return 0;
	}
	s->items[s->n] = (struct trigger_stack){ .id = id, .held_bytes = bytes };
	return hash_map_put(&s->by_id, id, s->n++, err);
}

int worker_stacks_write(const struct profile *p, int64_t least_bytes, FILE *to, struct error *err)
{
	cleanup(stacks_clear) struct stacks s = { .items = NULL };
	int type = profile_find_type(p, profile_heap_types[PROFILE_INUSE_SPACE].name);
	size_t n = profile_n_samples(p);
	int r = 0;

	if (type < 0)
		return error_set(err, ENOTSUP, "the profile does not say what is held");
	s.items = calloc(n + 1, sizeof(*s.items));
	if (!s.items)
		return error_oom(err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct profile_sample sample = profile_sample_at(p, i);

		r = add(&s, id_of(p, &sample), sample.values[type], err);
	}
	for (size_t i = 0; r == 0 && i < s.n; i++) {
		if (s.items[i].held_bytes >= least_bytes)
			fwrite(&s.items[i], sizeof(*s.items), 1, to);
	}
	return r;
}
