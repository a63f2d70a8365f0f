/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/transform.h"

#include <errno.h>

#include "base/cleanup.h"
#include "profile/copier.h"

struct churn {
	struct copier copier;
	int from[PROFILE_HEAP_TYPES]; /* where @from has the types of a heap profile */
};

static int add(struct churn *c, const struct profile_sample *s, struct error *err)
{
	uint32_t frames[PROFILE_MAX_FRAMES];
	struct profile_label labels[PROFILE_MAX_LABELS];
	int64_t values[2] = {
		s->values[c->from[PROFILE_ALLOC_OBJECTS]] -
			s->values[c->from[PROFILE_INUSE_OBJECTS]],
		s->values[c->from[PROFILE_ALLOC_SPACE]] - s->values[c->from[PROFILE_INUSE_SPACE]],
	};
	int r;

	if (!values[0] && !values[1])
		return 0;
	r = copier_frames(&c->copier, s->frames, s->n_frames, frames, err);
	for (size_t i = 0; r == 0 && i < s->n_labels; i++)
		r = copier_label(&c->copier, &s->labels[i], &labels[i], err);
	return r < 0 ? r
	             : profile_add(c->copier.to, frames, s->n_frames, labels, s->n_labels, values,
	                           err);
}

static int fill(struct churn *c, const struct profile *p, struct profile *to, struct error *err)
{
	int r = copier_init(&c->copier, to, p, err);

	if (r == 0)
		r = copier_modules(&c->copier, err);
	for (size_t i = 0; r == 0 && i < profile_n_samples(p); i++) {
		struct profile_sample s = profile_sample_at(p, i);

		r = add(c, &s, err);
	}
	copier_clear(&c->copier);
	return r < 0 ? r : report_copy(profile_report(to), profile_report_const(p), err);
}

int transform_churn(const struct profile *p, struct profile **ret, struct error *err)
{
	static const struct profile_type types[] = { { "freed_objects", "count" },
		                                     { "freed_space", "bytes" } };
	cleanup(profile_freep) struct profile *to = NULL;
	struct churn c = { 0 };
	int r;

	for (size_t i = 0; i < PROFILE_HEAP_TYPES; i++) {
		c.from[i] = profile_find_type(p, profile_heap_types[i].name);
		if (c.from[i] < 0)
			return error_set(err, EINVAL, "the profile has no values named '%s'",
			                 profile_heap_types[i].name);
	}
	r = profile_new(&to, types, ARRAY_SIZE(types), 1, err);
	if (r == 0)
		r = fill(&c, p, to, err);
	if (r < 0)
		return r;
	profile_set_time(to, profile_start_unix_ns(p), profile_duration_ns(p));
	*ret = take_ptr(to);
	return 0;
}
