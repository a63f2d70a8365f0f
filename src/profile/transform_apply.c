/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "profile/copier.h"
#include "profile/text.h"
#include "profile/transform.h"

/* A regexp over frames; each frame is asked once. */
struct filter {
	regex_t re;
	bool compiled;
	signed char *answers; /* by frame id: 0 not asked, 1 yes, -1 no */
};

struct apply {
	const struct profile *from;
	const struct transform_options *options;
	struct copier copier;
	struct filter focus, ignore;
	int size_count, size_bytes; /* the value types of --by size, or -1 */
	uint32_t *frames;           /* room for one stack */
};

static void filter_clear(struct filter *f)
{
	if (f->compiled)
		regfree(&f->re);
	free(f->answers);
	*f = (struct filter){ 0 };
}

static void apply_clear(struct apply *a)
{
	copier_clear(&a->copier);
	filter_clear(&a->focus);
	filter_clear(&a->ignore);
	free(a->frames);
}

static int filter_init(struct filter *f, const char *regexp, const struct profile *p,
                       struct error *err)
{
	char text[128];
	int r;

	if (!regexp)
		return 0;
	r = regcomp(&f->re, regexp, REG_EXTENDED | REG_NOSUB);
	if (r != 0) {
		regerror(r, &f->re, text, sizeof(text));
		return error_set(err, EINVAL, "regular expression '%s': %s", regexp, text);
	}
	f->compiled = true;
	f->answers = calloc(profile_n_frames(p) + 1, 1);
	return f->answers ? 0 : error_oom(err);
}

static bool frame_matches(struct filter *f, const struct profile *p, uint32_t id)
{
	const struct profile_frame *frame = profile_frame_at(p, id);
	const char *text = profile_text(p, frame->name);
	char buf[512];

	if (!f->answers[id]) {
		/* a name is searched whole, however long it is */
		if (!*text)
			text = profile_frame_text(p, id, buf, sizeof(buf));
		f->answers[id] = regexec(&f->re, text, 0, NULL, 0) == 0 ? 1 : -1;
	}
	return f->answers[id] > 0;
}

static bool stack_matches(struct filter *f, const struct profile *p, const struct profile_sample *s)
{
	for (size_t i = 0; i < s->n_frames; i++) {
		if (frame_matches(f, p, s->frames[i]))
			return true;
	}
	return false;
}

static bool is_wanted(struct apply *a, const struct profile_sample *s)
{
	if (a->focus.compiled && !stack_matches(&a->focus, a->from, s))
		return false;
	return !a->ignore.compiled || !stack_matches(&a->ignore, a->from, s);
}

/* The module of the innermost frame that has one. */
static void module_text(const struct apply *a, const struct profile_sample *s, char *buf,
                        size_t size)
{
	for (size_t i = 0; i < s->n_frames; i++) {
		uint32_t module = profile_frame_at(a->from, s->frames[i])->module;

		if (module) {
			snprintf(buf, size, "%s", path_base(profile_text(a->from, module)));
			return;
		}
	}
	snprintf(buf, size, "[no module]");
}

/* Value types that count objects and their bytes: inuse before alloc, because
 * what is asked about is what is held. */
static void find_size_types(struct apply *a)
{
	static const char *const pairs[][2] = { { "inuse_objects", "inuse_space" },
		                                { "alloc_objects", "alloc_space" } };

	a->size_count = a->size_bytes = -1;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		int count = profile_find_type(a->from, pairs[i][0]);
		int bytes = profile_find_type(a->from, pairs[i][1]);

		if (count < 0 || bytes < 0)
			continue;
		a->size_count = count;
		a->size_bytes = bytes;
		return;
	}
}

/* Power of two that holds the sample's average object. */
static void size_text(const struct apply *a, const struct profile_sample *s, char *buf, size_t size)
{
	int64_t count = a->size_count < 0 ? 0 : s->values[a->size_count];
	int64_t bytes = a->size_bytes < 0 ? 0 : s->values[a->size_bytes];
	uint64_t average, limit = 16;

	if (count <= 0 || bytes < 0) {
		snprintf(buf, size, "[size not known]");
		return;
	}
	average = (uint64_t)(bytes / count);
	while (limit < average)
		limit *= 2;
	if (limit == 16)
		snprintf(buf, size, "1 to 16 bytes");
	else
		snprintf(buf, size, "%" PRIu64 " to %" PRIu64 " bytes", limit / 2 + 1, limit);
}

static const char *label_text(const struct apply *a, const struct profile_sample *s,
                              const char *key, char *buf, size_t size)
{
	const char *text = profile_label_text(a->from, s, key, buf, size);

	if (!text && strcmp(key, "thread") == 0)
		text = profile_label_text(a->from, s, "tid", buf, size);
	if (text && *text)
		return text;
	snprintf(buf, size, "[no %s]", key);
	return buf;
}

static int group_frame(struct apply *a, const struct profile_sample *s, uint32_t *ret,
                       struct error *err)
{
	const char *by = a->options->by, *text;
	char buf[256];

	if (strcmp(by, "module") == 0) {
		module_text(a, s, buf, sizeof(buf));
		text = buf;
	} else if (strcmp(by, "size") == 0) {
		size_text(a, s, buf, sizeof(buf));
		text = buf;
	} else {
		text = label_text(a, s, by, buf, sizeof(buf));
	}
	return profile_frame_named(a->copier.to, text, ret, err);
}

static size_t keep_frames(struct apply *a, const struct profile_sample *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_frames; i++) {
		size_t at = a->options->reverse ? s->n_frames - 1 - i : i;

		if (!a->options->no_inline || !profile_frame_at(a->from, s->frames[at])->inlined)
			a->frames[n++] = s->frames[at];
	}
	return n;
}

static int apply_sample(struct apply *a, const struct profile_sample *s, struct error *err)
{
	struct profile_label labels[PROFILE_MAX_LABELS];
	size_t n = keep_frames(a, s);
	int r = copier_frames(&a->copier, a->frames, n, a->frames, err);

	for (size_t i = 0; r == 0 && i < s->n_labels; i++)
		r = copier_label(&a->copier, &s->labels[i], &labels[i], err);
	if (r == 0 && a->options->by) {
		/* a stack as deep as can be gives its outermost frame for the group */
		n -= n == PROFILE_MAX_FRAMES;
		r = group_frame(a, s, &a->frames[n++], err);
	}
	if (r < 0)
		return r;
	return profile_add(a->copier.to, a->frames, n, labels, s->n_labels, s->values, err);
}

static int new_like(const struct profile *p, struct profile **ret, struct error *err)
{
	int r = profile_new(ret, profile_type_at(p, 0), profile_n_types(p), profile_default_type(p),
	                    err);

	if (r == 0)
		profile_set_time(*ret, profile_start_unix_ns(p), profile_duration_ns(p));
	return r;
}

static int apply_init(struct apply *a, struct profile *to, struct error *err)
{
	int r = copier_init(&a->copier, to, a->from, err);

	if (r == 0)
		r = filter_init(&a->focus, a->options->focus, a->from, err);
	if (r == 0)
		r = filter_init(&a->ignore, a->options->ignore, a->from, err);
	if (r == 0 && a->options->by_name)
		r = copier_by_name(&a->copier, err);
	if (r < 0)
		return r;
	find_size_types(a);
	a->frames = calloc(PROFILE_MAX_FRAMES + 1, sizeof(*a->frames));
	return a->frames ? 0 : error_oom(err);
}

int transform_apply(const struct profile *p, const struct transform_options *o,
                    struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *to = NULL;
	cleanup(apply_clear) struct apply a = { .from = p, .options = o };
	int r = new_like(p, &to, err);

	if (r == 0)
		r = apply_init(&a, to, err);
	if (r == 0)
		r = copier_modules(&a.copier, err);
	if (r == 0)
		r = report_copy(profile_report(to), profile_report_const(p), err);
	for (size_t i = 0; r == 0 && i < profile_n_samples(p); i++) {
		struct profile_sample s = profile_sample_at(p, i);

		if (is_wanted(&a, &s))
			r = apply_sample(&a, &s, err);
	}
	if (r == 0)
		*ret = take_ptr(to);
	return r;
}
