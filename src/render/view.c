/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "profile/transform.h"

static int filter(const struct profile *p, const struct render_options *o, int flags,
                  struct profile **ret, struct error *err)
{
	struct transform_options t = { 0 };

	if (o) {
		t.focus = o->focus;
		t.ignore = o->ignore;
		t.by = o->by;
		t.no_inline = o->no_inline;
		t.reverse = o->reverse && (flags & VIEW_REVERSE);
	}
	t.by_name = flags & VIEW_BY_NAME;
	if (!t.focus && !t.ignore && !t.by && !t.no_inline && !t.reverse && !t.by_name)
		return 0;
	return transform_apply(p, &t, ret, err);
}

int view_companion(const struct profile *p, size_t type, const char *suffix)
{
	const char *name = profile_type_at(p, type)->name, *end = strrchr(name, '_');
	char other[80];

	if (!end)
		return -1;
	snprintf(other, sizeof(other), "%.*s%s", (int)(end - name), name, suffix);
	return profile_find_type(p, other);
}

static void find_types(struct view *v)
{
	const struct profile_type *t = profile_type_at(v->p, v->type);

	v->is_bytes = !strcmp(t->unit, "bytes");
	v->bytes = v->is_bytes ? (int)v->type : view_companion(v->p, v->type, "_space");
	v->count = view_companion(v->p, v->type, "_objects");
	v->age = view_companion(v->p, v->type, "_age");
	v->growth = profile_find_type(v->p, "growth_space");
	v->is_sampled = interval_find(v->p, v->type, &v->interval);
	v->after = profile_find_type(v->p, "after");
	v->before = profile_find_type(v->p, "before");
	v->delta = profile_find_type(v->p, "delta");
	v->is_diff = v->after >= 0 && v->before >= 0 && v->delta >= 0;
	if (!v->is_diff)
		v->after = v->before = v->delta = -1;
}

static uint64_t magnitude(int64_t v)
{
	return v < 0 ? -(uint64_t)v : (uint64_t)v;
}

static int by_value(const void *a, const void *b)
{
	const struct view_row *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	return (x->sample > y->sample) - (x->sample < y->sample);
}

static int by_magnitude(const void *a, const void *b)
{
	const struct view_row *x = a, *y = b;
	uint64_t mx = magnitude(x->value), my = magnitude(y->value);

	return mx != my ? (mx < my ? 1 : -1) : by_value(a, b);
}

/* A stack of a diff that is as large after as before is still worth showing
 * in a picture: it is what the change stands on. */
static bool is_worth(const struct view *v, const struct profile_sample *s, int flags)
{
	if (!(flags & VIEW_ALL) && !v->is_diff)
		return s->values[v->type] != 0;
	for (size_t i = 0; i < profile_n_types(v->p); i++) {
		if (s->values[i] != 0)
			return true;
	}
	return false;
}

static int collect_rows(struct view *v, int flags, struct error *err)
{
	size_t n = profile_n_samples(v->p);

	v->rows = calloc(n ? n : 1, sizeof(*v->rows));
	if (!v->rows)
		return error_oom(err);
	for (size_t i = 0; i < n; i++) {
		struct profile_sample s = profile_sample_at(v->p, i);

		if (is_worth(v, &s, flags))
			v->rows[v->n_rows++] = (struct view_row){ .sample = i,
				                                  .value = s.values[v->type] };
	}
	qsort(v->rows, v->n_rows, sizeof(*v->rows),
	      flags & VIEW_MAGNITUDE && v->is_diff ? by_magnitude : by_value);
	return 0;
}

int view_make(const struct profile *p, const struct render_options *o, int flags, struct view *ret,
              struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	int type = o ? o->type : -1;
	int r;

	if (type >= (int)profile_n_types(p))
		return error_set(err, ERANGE, "the profile has no value type %d", type);
	r = filter(p, o, flags, &v.owned, err);
	if (r < 0)
		return r;
	v.p = v.owned ? v.owned : p;
	v.type = type < 0 ? profile_default_type(v.p) : (size_t)type;
	if (v.type >= profile_n_types(v.p))
		return error_set(err, EINVAL, "the profile has no value type");
	find_types(&v);
	v.total = profile_total(v.p, v.type);
	r = collect_rows(&v, flags, err);
	if (r < 0)
		return r;
	*ret = v;
	v = (struct view){ 0 };
	return 0;
}

void view_clear(struct view *v)
{
	profile_freep(&v->owned);
	free(v->rows);
	*v = (struct view){ 0 };
}

int64_t view_value(const struct view *v, size_t row, int type)
{
	return type < 0 ? 0 : profile_sample_at(v->p, v->rows[row].sample).values[type];
}

static int64_t limited(__int128 v)
{
	return v > INT64_MAX ? INT64_MAX : v < -INT64_MAX ? -INT64_MAX : (int64_t)v;
}

int64_t view_add(int64_t a, int64_t b)
{
	return limited((__int128)a + b);
}

int64_t view_subtract(int64_t a, int64_t b)
{
	return limited((__int128)a - b);
}

const char *view_frame_text(const struct profile *p, uint32_t frame, char *buf, size_t size)
{
	const struct profile_frame *f = profile_frame_at(p, frame);

	if (f && f->name)
		return profile_text(p, f->name);
	return profile_frame_text(p, frame, buf, size);
}

const char *view_module_name(const struct profile *p, const struct profile_frame *f)
{
	return path_base(profile_text(p, f->module));
}

bool view_is_refs(const struct profile *p)
{
	const struct report_figure *f = report_get(profile_report_const(p), "result");

	return f && f->kind == REPORT_TEXT && f->text && !strcmp(f->text, "refs");
}
