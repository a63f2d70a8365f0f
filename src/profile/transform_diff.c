/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/path.h"
#include "profile/copier.h"
#include "profile/text.h"
#include "profile/transform.h"

enum { AFTER, BEFORE, DELTA, N_TYPES };

/* Both inputs' frames meet in @to by what a person would call the same. */
struct diff {
	struct profile *to;
	struct hash_map by_name;  /* name's string id in @to -> frame id */
	struct hash_map by_place; /* hash of (module's base name, offset) -> frame ids */
	uint32_t *frames;         /* room for one stack */
};

static void diff_clear(struct diff *d)
{
	hash_map_clear(&d->by_name);
	hash_map_clear(&d->by_place);
	free(d->frames);
}

static int find_type(const struct profile *p, const char *type, size_t *ret, struct error *err)
{
	int at = type ? profile_find_type(p, type) : (int)profile_default_type(p);

	if (at < 0) {
		error_set(err, EINVAL, "the profile has no values of type %s", type);
		return error_hint(err, "its default type is %s",
		                  profile_type_at(p, profile_default_type(p))->name);
	}
	*ret = (size_t)at;
	return 0;
}

static bool same_place(const struct diff *d, const struct profile_frame *a,
                       const struct profile_frame *b)
{
	return a->offset == b->offset && strcmp(path_base(profile_text(d->to, a->module)),
	                                        path_base(profile_text(d->to, b->module))) == 0;
}

/* Unnamed code: where it is, less its folders and its load address. */
static int same_by_place(struct diff *d, uint32_t id, const struct profile_frame *f, uint32_t *ret,
                         struct error *err)
{
	const char *base = path_base(profile_text(d->to, f->module));
	uint64_t key = hash_bytes(base, strlen(base), f->offset), *known;
	size_t pos = 0;
	int r;

	while ((known = hash_map_next(&d->by_place, key, &pos))) {
		if (same_place(d, profile_frame_at(d->to, (uint32_t)*known), f)) {
			*ret = (uint32_t)*known;
			return 0;
		}
	}
	r = hash_map_add(&d->by_place, key, id, err);
	if (r == 0)
		*ret = id;
	return r;
}

/* The first frame of each kind stands for all of them. */
static int same_frame(struct diff *d, uint32_t id, uint32_t *ret, struct error *err)
{
	const struct profile_frame *f = profile_frame_at(d->to, id);
	uint64_t *known;
	int r;

	if (!f->name)
		return same_by_place(d, id, f, ret, err);
	known = hash_map_get(&d->by_name, f->name);
	if (known) {
		*ret = (uint32_t)*known;
		return 0;
	}
	r = hash_map_put(&d->by_name, f->name, id, err);
	if (r == 0)
		*ret = id;
	return r;
}

/* A process id is never the same twice: it would part what belongs together. */
static bool is_identity(const struct profile *p, const struct profile_label *l)
{
	const char *key = profile_text(p, l->key);

	return strcmp(key, "pid") == 0 || strcmp(key, "tid") == 0;
}

static int add_sample(struct diff *d, struct copier *c, const struct profile_sample *s,
                      const int64_t values[N_TYPES], struct error *err)
{
	struct profile_label labels[PROFILE_MAX_LABELS];
	size_t n_labels = 0;
	int r = copier_frames(c, s->frames, s->n_frames, d->frames, err);

	for (size_t i = 0; r == 0 && i < s->n_frames; i++)
		r = same_frame(d, d->frames[i], &d->frames[i], err);
	for (size_t i = 0; r == 0 && i < s->n_labels; i++) {
		if (!is_identity(c->from, &s->labels[i]))
			r = copier_label(c, &s->labels[i], &labels[n_labels++], err);
	}
	if (r < 0)
		return r;
	return profile_add(d->to, d->frames, s->n_frames, labels, n_labels, values, err);
}

static int add_side(struct diff *d, const struct profile *from, size_t type, int side,
                    struct error *err)
{
	cleanup(copier_clear) struct copier c = { 0 };
	int r = copier_init(&c, d->to, from, err);

	if (r == 0)
		r = copier_modules(&c, err);
	for (size_t i = 0; r == 0 && i < profile_n_samples(from); i++) {
		struct profile_sample s = profile_sample_at(from, i);
		int64_t v = s.values[type], values[N_TYPES] = { 0 };

		if (!v)
			continue;
		if (v == INT64_MIN) /* has no negative */
			v++;
		values[side] = v;
		values[DELTA] = side == AFTER ? v : -v;
		r = add_sample(d, &c, &s, values, err);
	}
	return r;
}

static bool is_refs(const struct profile *p)
{
	const struct report_figure *f = report_get(profile_report_const(p), "result");

	return f && f->kind == REPORT_TEXT && f->text && !strcmp(f->text, "refs");
}

static int add_figures(struct profile *p, const struct profile *after, const char *type,
                       struct error *err)
{
	const char *unit = profile_type_at(p, DELTA)->unit;
	const struct report_figure *target = report_get(profile_report_const(after), "target");
	struct report *to = profile_report(p);
	int r = 0;

	if (target && target->kind == REPORT_TEXT)
		r = report_text(to, "target", target->title, target->text, err);
	if (r == 0)
		r = report_text(to, "diff_type", "Compared", type, err);
	if (r == 0 && is_refs(after))
		r = report_text(to, "result", NULL, "refs-diff", err);
	if (r == 0)
		r = report_int(to, "before_total", NULL, profile_total(p, BEFORE), unit, err);
	if (r == 0)
		r = report_int(to, "after_total", NULL, profile_total(p, AFTER), unit, err);
	if (r == 0)
		r = report_int(to, "delta_total", NULL, profile_total(p, DELTA), unit, err);
	return r;
}

static int diff_new(const struct profile *before, size_t type_before, const struct profile *after,
                    size_t type_after, struct profile **ret, struct error *err)
{
	const struct profile_type *a = profile_type_at(before, type_before);
	const struct profile_type *b = profile_type_at(after, type_after);
	struct profile_type types[N_TYPES] = { { "after" }, { "before" }, { "delta" } };

	if (strcmp(a->unit, b->unit) != 0)
		return error_set(err, EINVAL, "%s counts %s before, and %s %s after", a->name,
		                 a->unit, b->name, b->unit);
	for (size_t i = 0; i < N_TYPES; i++)
		memcpy(types[i].unit, b->unit, sizeof(b->unit));
	return profile_new(ret, types, N_TYPES, DELTA, err);
}

int transform_diff(const struct profile *before, const struct profile *after, const char *type,
                   struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *to = NULL;
	cleanup(diff_clear) struct diff d = { 0 };
	size_t type_before, type_after;
	int r = find_type(before, type, &type_before, err);

	if (r < 0)
		return error_context(err, "before");
	r = find_type(after, type, &type_after, err);
	if (r < 0)
		return error_context(err, "after");
	r = diff_new(before, type_before, after, type_after, &to, err);
	if (r < 0)
		return r;
	d.to = to;
	d.frames = calloc(PROFILE_MAX_FRAMES, sizeof(*d.frames));
	if (!d.frames)
		return error_oom(err);
	r = add_side(&d, after, type_after, AFTER, err);
	if (r == 0)
		r = add_side(&d, before, type_before, BEFORE, err);
	if (r == 0)
		r = add_figures(to, after, profile_type_at(after, type_after)->name, err);
	if (r < 0)
		return r;
	profile_set_time(to, profile_start_unix_ns(after), profile_duration_ns(after));
	*ret = take_ptr(to);
	return 0;
}
