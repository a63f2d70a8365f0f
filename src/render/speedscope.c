/* SPDX-License-Identifier: GPL-2.0-or-later */
/* speedscope's own file format (jlfwong/speedscope, src/lib/file-format-spec.ts,
 * version 1.x): shared frames, then "sampled" profiles whose samples are frame
 * numbers, root first, each with a weight. Weights can't be negative, so a diff
 * is written as two profiles, after and before. */
#include "base/cleanup.h"
#include "base/json.h"
#include "render/figures.h"
#include "render/formats.h"
#include "render/view.h"

static void write_shared(struct json *j, const struct profile *p)
{
	char buf[512];

	json_key(j, "shared");
	json_object(j);
	json_key(j, "frames");
	json_array(j);
	for (size_t i = 0; i < profile_n_frames(p); i++) {
		const struct profile_frame *f = profile_frame_at(p, (uint32_t)i);

		json_object(j);
		json_key(j, "name");
		json_string(j, view_frame_text(p, (uint32_t)i, buf, sizeof(buf)));
		if (f && (f->file || f->module)) {
			json_key(j, "file");
			json_string(j, profile_text(p, f->file ? f->file : f->module));
		}
		if (f && f->file && f->line) {
			json_key(j, "line");
			json_uint(j, f->line);
		}
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

static int64_t write_samples(struct json *j, const struct view *v, int type)
{
	int64_t total = 0;

	json_key(j, "samples");
	json_array(j);
	for (size_t row = 0; row < v->n_rows; row++) {
		struct profile_sample s = profile_sample_at(v->p, v->rows[row].sample);

		if (s.values[type] <= 0)
			continue;
		total = view_add(total, s.values[type]);
		json_array(j);
		for (size_t i = s.n_frames; i-- > 0;)
			json_uint(j, s.frames[i]);
		json_array_end(j);
	}
	json_array_end(j);
	return total;
}

static void write_weights(struct json *j, const struct view *v, int type)
{
	json_key(j, "weights");
	json_array(j);
	for (size_t row = 0; row < v->n_rows; row++) {
		int64_t value = view_value(v, row, type);

		if (value > 0)
			json_int(j, value);
	}
	json_array_end(j);
}

static void write_profile(struct json *j, const struct view *v, int type)
{
	const struct profile_type *t = profile_type_at(v->p, (size_t)type);
	int64_t total;

	json_object(j);
	json_key(j, "type");
	json_string(j, "sampled");
	json_key(j, "name");
	json_string(j, figures_type_name(t));
	json_key(j, "unit");
	json_string(j, v->is_bytes ? "bytes" : "none");
	total = write_samples(j, v, type);
	write_weights(j, v, type);
	json_key(j, "startValue");
	json_int(j, 0);
	json_key(j, "endValue");
	json_int(j, total);
	json_object_end(j);
}

static void write_all(struct json *j, const struct view *v, const char *title)
{
	json_object(j);
	json_key(j, "$schema");
	json_string(j, "https://www.speedscope.app/file-format-schema.json");
	json_key(j, "name");
	json_string(j, title);
	json_key(j, "exporter");
	json_string(j, "memwho");
	json_key(j, "activeProfileIndex");
	json_int(j, 0);
	write_shared(j, v->p);
	json_key(j, "profiles");
	json_array(j);
	if (v->is_diff && (int)v->type == v->delta) {
		write_profile(j, v, v->after);
		write_profile(j, v, v->before);
	} else {
		write_profile(j, v, (int)v->type);
	}
	json_array_end(j);
	json_object_end(j);
	fputc('\n', j->to);
}

int speedscope_write(const struct profile *p, const struct render_options *o, FILE *to,
                     struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	struct json j = json_on(to);
	char title[FIGURES_BYTES];
	int r = view_make(p, o, VIEW_REVERSE, &v, err);

	if (r < 0)
		return r;
	write_all(&j, &v, figures_title(&v, o, title, sizeof(title)));
	return render_check(to, err);
}
