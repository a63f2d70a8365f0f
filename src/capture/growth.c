/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/growth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/copier.h"

struct growing {
	const struct profile *now;
	struct profile *to;
	size_t n_types; /* of @now; the growth is the one behind them */
	size_t held;    /* index of inuse_space */
};

/* Add a sample: with all its values (growth = held), or (@minus) only as growth
 * taken away. */
static int add(struct growing *g, struct copier *c, const struct profile_sample *s, bool minus,
               struct error *err)
{
	uint32_t frames[PROFILE_MAX_FRAMES];
	struct profile_label labels[PROFILE_MAX_LABELS];
	int64_t values[PROFILE_MAX_TYPES] = { 0 };
	int r = copier_frames(c, s->frames, s->n_frames, frames, err);

	for (size_t i = 0; r == 0 && i < s->n_labels; i++)
		r = copier_label(c, &s->labels[i], &labels[i], err);
	if (r < 0)
		return r;
	if (!minus)
		memcpy(values, s->values, g->n_types * sizeof(*values));
	values[g->n_types] = minus ? -s->values[g->held] : s->values[g->held];
	return profile_add(g->to, frames, s->n_frames, labels, s->n_labels, values, err);
}

static int begin(struct growing *g, struct profile **ret, struct error *err)
{
	struct profile_type types[PROFILE_MAX_TYPES];

	if (g->n_types == PROFILE_MAX_TYPES)
		return error_set(err, E2BIG, "no room for one more value type");
	for (size_t i = 0; i < g->n_types; i++)
		types[i] = *profile_type_at(g->now, i);
	types[g->n_types] = (struct profile_type){ "growth_space", "bytes" };
	return profile_new(ret, types, g->n_types + 1, profile_default_type(g->now), err);
}

static int add_all(struct growing *g, const struct profile *from, bool minus, struct error *err)
{
	cleanup(copier_clear) struct copier c = { 0 };
	int r = copier_init(&c, g->to, from, err);

	if (r == 0 && !minus)
		r = copier_modules(&c, err);
	for (size_t i = 0; r == 0 && i < profile_n_samples(from); i++) {
		struct profile_sample s = profile_sample_at(from, i);

		if (!minus || s.values[g->held])
			r = add(g, &c, &s, minus, err);
	}
	return r;
}

int growth_make(const struct profile *before, const struct profile *now, struct profile **ret,
                struct error *err)
{
	cleanup(profile_freep) struct profile *to = NULL;
	struct growing g = { .now = now, .n_types = profile_n_types(now) };
	int held = profile_find_type(now, "inuse_space"), r;

	if (held < 0)
		return error_set(err, EINVAL, "a profile without inuse_space");
	g.held = held;
	r = begin(&g, &to, err);
	if (r < 0)
		return r;
	g.to = to;
	r = add_all(&g, now, false, err);
	if (r == 0 && before)
		r = add_all(&g, before, true, err);
	if (r == 0)
		r = report_copy(profile_report(to), profile_report_const(now), err);
	if (r < 0)
		return r;
	profile_set_time(to, profile_start_unix_ns(now), profile_duration_ns(now));
	*ret = take_ptr(to);
	return 0;
}
