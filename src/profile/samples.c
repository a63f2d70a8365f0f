/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

struct samples_span {
	size_t start;
	uint32_t n;
};

struct samples_entry {
	uint32_t stack, set;
};

void samples_init(struct samples *s, size_t n_types, uint64_t seed)
{
	*s = (struct samples){ .n_types = n_types, .seed = seed };
}

void samples_clear(struct samples *s)
{
	free(s->frames);
	free(s->stacks);
	hash_map_clear(&s->stack_ids);
	free(s->labels);
	free(s->sets);
	hash_map_clear(&s->set_ids);
	free(s->entries);
	hash_map_clear(&s->entry_ids);
	free(s->values);
	samples_init(s, s->n_types, s->seed);
}

static int check_room(size_t n, const char *what, struct error *err)
{
	return n < UINT32_MAX ? 0 : error_set(err, E2BIG, "more than 2^32 different %s", what);
}

static int append_stack(struct samples *s, const uint32_t *frames, size_t n, uint64_t hash,
                        struct error *err)
{
	int r = check_room(s->n_stacks, "stacks", err);

	if (r < 0)
		return r;
	r = array_reserve(&s->frames, &s->cap_frames, s->n_frames + n, err);
	if (r < 0)
		return r;
	r = array_reserve(&s->stacks, &s->cap_stacks, s->n_stacks + 1, err);
	if (r < 0)
		return r;
	r = hash_map_add(&s->stack_ids, hash, s->n_stacks, err);
	if (r < 0)
		return r;
	if (n)
		memcpy(s->frames + s->n_frames, frames, n * sizeof(*frames));
	s->stacks[s->n_stacks++] = (struct samples_span){ s->n_frames, (uint32_t)n };
	s->n_frames += n;
	return 0;
}

static int intern_stack(struct samples *s, const uint32_t *frames, size_t n, uint32_t *ret,
                        struct error *err)
{
	uint64_t hash = hash_bytes(frames, n * sizeof(*frames), s->seed), *id;
	size_t pos = 0;
	int r;

	while ((id = hash_map_next(&s->stack_ids, hash, &pos))) {
		const struct samples_span *have = &s->stacks[*id];

		if (have->n != n ||
		    (n && memcmp(s->frames + have->start, frames, n * sizeof(*frames)) != 0))
			continue;
		*ret = (uint32_t)*id;
		return 0;
	}
	r = append_stack(s, frames, n, hash, err);
	if (r == 0)
		*ret = (uint32_t)s->n_stacks - 1;
	return r;
}

static bool same_labels(const struct profile_label *a, const struct profile_label *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (a[i].key != b[i].key || a[i].text != b[i].text || a[i].number != b[i].number ||
		    a[i].unit != b[i].unit)
			return false;
	}
	return true;
}

/* Field by field: the padding of the struct is not ours. */
static uint64_t hash_labels(const struct samples *s, const struct profile_label *labels, size_t n)
{
	uint64_t h = hash_u64(s->seed ^ n);

	for (size_t i = 0; i < n; i++) {
		h = hash_u64(h ^ ((uint64_t)labels[i].key << 32 | labels[i].text)) + 1;
		h = hash_u64(h ^ (uint64_t)labels[i].number) + labels[i].unit;
	}
	return h;
}

static int append_set(struct samples *s, const struct profile_label *labels, size_t n,
                      uint64_t hash, struct error *err)
{
	int r = check_room(s->n_sets, "sets of labels", err);

	if (r < 0)
		return r;
	r = array_reserve(&s->labels, &s->cap_labels, s->n_labels + n, err);
	if (r < 0)
		return r;
	r = array_reserve(&s->sets, &s->cap_sets, s->n_sets + 1, err);
	if (r < 0)
		return r;
	r = hash_map_add(&s->set_ids, hash, s->n_sets, err);
	if (r < 0)
		return r;
	if (n)
		memcpy(s->labels + s->n_labels, labels, n * sizeof(*labels));
	s->sets[s->n_sets++] = (struct samples_span){ s->n_labels, (uint32_t)n };
	s->n_labels += n;
	return 0;
}

static int intern_set(struct samples *s, const struct profile_label *labels, size_t n,
                      uint32_t *ret, struct error *err)
{
	uint64_t hash = hash_labels(s, labels, n), *id;
	size_t pos = 0;
	int r;

	while ((id = hash_map_next(&s->set_ids, hash, &pos))) {
		const struct samples_span *have = &s->sets[*id];

		if (have->n == n && (!n || same_labels(s->labels + have->start, labels, n))) {
			*ret = (uint32_t)*id;
			return 0;
		}
	}
	r = append_set(s, labels, n, hash, err);
	if (r == 0)
		*ret = (uint32_t)s->n_sets - 1;
	return r;
}

int64_t samples_sum(int64_t a, int64_t b)
{
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return b < 0 ? INT64_MIN : INT64_MAX;
	return sum;
}

static int append_entry(struct samples *s, uint32_t stack, uint32_t set, uint64_t key,
                        const int64_t *values, struct error *err)
{
	int r = check_room(s->n_entries, "samples", err);

	if (r < 0)
		return r;
	r = array_reserve(&s->entries, &s->cap_entries, s->n_entries + 1, err);
	if (r < 0)
		return r;
	r = array_reserve(&s->values, &s->cap_values, (s->n_entries + 1) * s->n_types, err);
	if (r < 0)
		return r;
	r = hash_map_put(&s->entry_ids, key, s->n_entries, err);
	if (r < 0)
		return r;
	memcpy(s->values + s->n_entries * s->n_types, values, s->n_types * sizeof(*values));
	s->entries[s->n_entries++] = (struct samples_entry){ stack, set };
	return 0;
}

int samples_add(struct samples *s, const uint32_t *frames, size_t n_frames,
                const struct profile_label *labels, size_t n_labels, const int64_t *values,
                struct error *err)
{
	uint32_t stack, set;
	uint64_t key, *id;
	int r;

	r = intern_stack(s, frames, n_frames, &stack, err);
	if (r < 0)
		return r;
	r = intern_set(s, labels, n_labels, &set, err);
	if (r < 0)
		return r;
	key = (uint64_t)stack << 32 | set;
	id = hash_map_get(&s->entry_ids, key);
	if (!id)
		return append_entry(s, stack, set, key, values, err);
	for (size_t i = 0; i < s->n_types; i++) {
		int64_t *v = &s->values[*id * s->n_types + i];

		*v = samples_sum(*v, values[i]);
	}
	return 0;
}

struct profile_sample samples_at(const struct samples *s, size_t i)
{
	const struct samples_span *stack = &s->stacks[s->entries[i].stack];
	const struct samples_span *set = &s->sets[s->entries[i].set];

	return (struct profile_sample){
		.frames = stack->n ? s->frames + stack->start : NULL,
		.n_frames = stack->n,
		.labels = set->n ? s->labels + set->start : NULL,
		.n_labels = set->n,
		.values = s->values + i * s->n_types,
	};
}
