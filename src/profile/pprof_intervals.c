/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/pprof_intervals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/interval.h"
#include "profile/text.h"

enum { MOST_STACKS = 200, MOST_FRAMES = 8 };

struct writer {
	const struct profile *p;
	struct interval_types types;
	int (*line)(void *arg, const char *text, struct error *err);
	void *arg;
};

static int put_frames(const struct writer *w, const struct profile_sample *s, struct text *to,
                      struct error *err)
{
	char buf[256];
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n_frames && i < MOST_FRAMES; i++) {
		r = text_append(to, i ? " < " : ": ", i ? 3 : 2, err);
		if (r == 0)
			r = text_append_escaped(
				to, profile_frame_text(w->p, s->frames[i], buf, sizeof(buf)), "",
				err);
	}
	if (r == 0 && s->n_frames > MOST_FRAMES)
		r = text_append(to, " < ...", 6, err);
	return r;
}

/* @s: NULL for the whole. */
static int put_line(const struct writer *w, const struct interval_sum *sum,
                    const struct profile_sample *s, struct error *err)
{
	const struct profile_type *type = profile_type_at(w->p, (size_t)w->types.estimate);
	cleanup(text_clear) struct text t = { 0 };
	char buf[300];
	double low, high;
	int r;

	interval_of(sum, &low, &high);
	snprintf(buf, sizeof(buf),
	         "memwho-interval: %s %.0f %s, 95 %%: %.0f to %.0f, %.0f sample%s%s", type->name,
	         sum->estimate, type->unit, low, high, sum->samples, sum->samples == 1 ? "" : "s",
	         s ? "" : ": all together");
	r = text_append_escaped(&t, buf, "", err);
	if (r == 0 && s)
		r = put_frames(w, s, &t, err);
	return r < 0 ? r : w->line(w->arg, t.s, err);
}

static int by_value(const void *a, const void *b, void *arg)
{
	const struct writer *w = arg;
	const size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const int64_t vx = profile_sample_at(w->p, x).values[w->types.estimate];
	const int64_t vy = profile_sample_at(w->p, y).values[w->types.estimate];

	return vx != vy ? (vx < vy ? 1 : -1) : (x > y) - (x < y);
}

static int put_largest(struct writer *w, const struct interval_sum *total, struct error *err)
{
	const size_t n = profile_n_samples(w->p);
	cleanup_free size_t *order = calloc(n + 1, sizeof(*order));
	int r;

	if (!order)
		return error_oom(err);
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	qsort_r(order, n, sizeof(*order), by_value, w);
	r = put_line(w, total, NULL, err);
	for (size_t i = 0; r == 0 && i < n && i < MOST_STACKS; i++) {
		const struct profile_sample s = profile_sample_at(w->p, order[i]);
		const struct interval_sum sum = interval_sum_of(w->p, &w->types, s.values);

		if (sum.samples >= 1)
			r = put_line(w, &sum, &s, err);
	}
	return r;
}

int pprof_intervals_write(const struct profile *p,
                          int (*line)(void *arg, const char *text, struct error *err), void *arg,
                          struct error *err)
{
	struct writer w = { .p = p, .line = line, .arg = arg };
	struct interval_sum total = { 0 };

	if (!interval_find(p, profile_default_type(p), &w.types))
		return 0;
	for (size_t i = 0; i < profile_n_samples(p); i++) {
		const struct profile_sample s = profile_sample_at(p, i);
		const struct interval_sum sum = interval_sum_of(p, &w.types, s.values);

		interval_add(&total, &sum);
	}
	return put_largest(&w, &total, err);
}
