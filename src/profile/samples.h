/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The samples of a profile: stacks and label sets are interned, and a sample
 * is one pair of them with its values. This file knows ids only; what they
 * mean, and in which order labels come, is profile.c's.
 */

#include "base/hash.h"
#include "profile/profile.h"

struct samples {
	size_t n_types;
	uint64_t seed;

	uint32_t *frames; /* all stacks, end to end */
	size_t n_frames, cap_frames;
	struct samples_span *stacks;
	size_t n_stacks, cap_stacks;
	struct hash_map stack_ids;

	struct profile_label *labels; /* all label sets, end to end */
	size_t n_labels, cap_labels;
	struct samples_span *sets;
	size_t n_sets, cap_sets;
	struct hash_map set_ids;

	struct samples_entry *entries;
	size_t n_entries, cap_entries;
	struct hash_map entry_ids;
	int64_t *values; /* n_entries * n_types */
	size_t cap_values;
};

void samples_init(struct samples *s, size_t n_types, uint64_t seed);
void samples_clear(struct samples *s);

/* Add @values (n_types of them) to the sample of this stack and these labels;
 * sums stop at the ends of int64_t. -ENOMEM, or -E2BIG. */
int samples_add(struct samples *s, const uint32_t *frames, size_t n_frames,
                const struct profile_label *labels, size_t n_labels, const int64_t *values,
                struct error *err);

struct profile_sample samples_at(const struct samples *s, size_t i);

/* a + b, kept inside int64_t. */
int64_t samples_sum(int64_t a, int64_t b);
