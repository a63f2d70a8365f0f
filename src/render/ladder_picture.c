/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_picture.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "profile/copier.h"
#include "profile/ladder_diff.h"

bool ladder_picture_is(const struct profile *p)
{
	return ladder_rows_is(p) || ladder_diff_is(p);
}

static int add_sample(struct copier *c, const struct profile_sample *s, uint32_t *frames,
                      struct error *err)
{
	struct profile_label labels[PROFILE_MAX_LABELS];
	struct profile_frame frame = { 0 };
	int r = 0;

	if (s->n_frames)
		r = copier_string(c, profile_frame_at(c->from, s->frames[s->n_frames - 1])->name,
		                  &frame.module, err);
	for (size_t i = 0; r == 0 && i < s->n_frames; i++) {
		r = copier_string(c, profile_frame_at(c->from, s->frames[i])->name, &frame.name,
		                  err);
		if (r == 0)
			r = profile_frame(c->to, &frame, &frames[i], err);
	}
	for (size_t i = 0; r == 0 && i < s->n_labels; i++)
		r = copier_label(c, &s->labels[i], &labels[i], err);
	if (r < 0)
		return r;
	return profile_add(c->to, frames, s->n_frames, labels, s->n_labels, s->values, err);
}

static int copy(const struct profile *from, struct profile *to, struct error *err)
{
	cleanup_free uint32_t *frames = calloc(PROFILE_MAX_FRAMES, sizeof(*frames));
	cleanup(copier_clear) struct copier c = { 0 };
	int r = frames ? copier_init(&c, to, from, err) : error_oom(err);

	for (size_t i = 0; r == 0 && i < profile_n_samples(from); i++) {
		struct profile_sample s = profile_sample_at(from, i);

		r = add_sample(&c, &s, frames, err);
	}
	return r < 0 ? r : report_copy(profile_report(to), profile_report_const(from), err);
}

/* A copy of @p for drawing in *ret, and the options to draw it with in
 * *ret_options (its texts are @o's). */
static int make_picture(const struct profile *p, const struct render_options *o,
                        struct profile **ret, struct render_options *ret_options, struct error *err)
{
	cleanup(profile_freep) struct profile *to = NULL;
	struct render_options options = { .type = -1, .min_width = -1 };
	struct profile_type types[PROFILE_MAX_TYPES];
	int at = profile_find_type(p, "virtual_bytes"), r;

	for (size_t i = 0; i < profile_n_types(p); i++)
		types[i] = *profile_type_at(p, i);
	r = profile_new(&to, types, profile_n_types(p),
	                at < 0 ? profile_default_type(p) : (size_t)at, err);
	if (r == 0)
		r = copy(p, to, err);
	if (r < 0)
		return r;
	if (o)
		options = *o;
	options.inverted = true;
	*ret_options = options;
	*ret = take_ptr(to);
	return 0;
}

int ladder_picture_write(const struct profile *p, const struct render_options *o, FILE *to,
                         int (*write)(const struct profile *p, const struct render_options *o,
                                      FILE *to, struct error *err),
                         struct error *err)
{
	cleanup(profile_freep) struct profile *picture = NULL;
	struct render_options options;
	int r;

	if (!ladder_picture_is(p))
		return write(p, o, to, err);
	r = make_picture(p, o, &picture, &options, err);
	return r < 0 ? r : write(picture, &options, to, err);
}
