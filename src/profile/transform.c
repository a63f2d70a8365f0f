/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/transform.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "profile/copier.h"

/* ret[i]: where @from has the type that @to has at i. */
static int match_types(const struct profile *to, const struct profile *from,
                       size_t ret[PROFILE_MAX_TYPES], struct error *err)
{
	size_t n = profile_n_types(to);

	if (profile_n_types(from) != n)
		return error_set(err, EINVAL, "profiles of %zu and %zu value types don't add up", n,
		                 profile_n_types(from));
	for (size_t i = 0; i < n; i++) {
		const char *name = profile_type_at(to, i)->name;
		int at = profile_find_type(from, name);

		if (at < 0)
			return error_set(err, EINVAL,
			                 "only one of the profiles has values of type %s", name);
		ret[i] = (size_t)at;
	}
	return 0;
}

static int merge_sample(struct copier *c, const struct profile_sample *s, const size_t *types,
                        uint32_t *frames, struct error *err)
{
	struct profile_label labels[PROFILE_MAX_LABELS];
	int64_t values[PROFILE_MAX_TYPES];
	int r = copier_frames(c, s->frames, s->n_frames, frames, err);

	for (size_t i = 0; r == 0 && i < s->n_labels; i++)
		r = copier_label(c, &s->labels[i], &labels[i], err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < profile_n_types(c->to); i++)
		values[i] = s->values[types[i]];
	return profile_add(c->to, frames, s->n_frames, labels, s->n_labels, values, err);
}

static void merge_time(struct profile *to, const struct profile *from)
{
	int64_t a = profile_start_unix_ns(to), b = profile_start_unix_ns(from);
	int64_t long_a = profile_duration_ns(to), long_b = profile_duration_ns(from);

	profile_set_time(to, !a || (b && b < a) ? b : a, long_a > long_b ? long_a : long_b);
}

int transform_merge(struct profile *to, const struct profile *from, struct error *err)
{
	cleanup_free uint32_t *frames = calloc(PROFILE_MAX_FRAMES, sizeof(*frames));
	cleanup(copier_clear) struct copier c = { 0 };
	size_t types[PROFILE_MAX_TYPES], n = profile_n_samples(from);
	int r = match_types(to, from, types, err);

	if (r < 0)
		return r;
	if (!frames)
		return error_oom(err);
	r = copier_init(&c, to, from, err);
	if (r == 0)
		r = copier_modules(&c, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct profile_sample s = profile_sample_at(from, i);

		r = merge_sample(&c, &s, types, frames, err);
	}
	if (r == 0)
		merge_time(to, from);
	return r;
}
