/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "profile/ladder_diff.h"
#include "render/contexts_text.h"
#include "render/formats.h"
#include "render/interval_text.h"
#include "render/ladder_diff_json.h"
#include "render/ladder_json.h"
#include "render/view.h"

enum { FRAME_BYTES = 512 };

/* Written by write_figures() or here; a report's own figure or table must not
 * take these names (the report of a foreign file can hold any). */
static const char *const own_keys[] = { "format",  "value_type",      "shown_bytes",     "stacks",
	                                "partial", "shown_bytes_low", "shown_bytes_high" };

static bool is_own_key(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_keys); i++) {
		if (!strcmp(key, own_keys[i]))
			return true;
	}
	return false;
}

static void write_cell(struct json *j, const struct report_figure *f)
{
	switch (f->kind) {
	case REPORT_INT: json_int(j, f->integer); break;
	case REPORT_DOUBLE: json_double(j, f->real); break;
	case REPORT_TEXT: json_string(j, f->text ? f->text : ""); break;
	default: json_null(j);
	}
}

static void write_figures(struct json *j, const struct report *r)
{
	for (size_t i = 0; i < r->n_figures; i++) {
		if (is_own_key(r->figures[i].key))
			continue;
		json_key(j, r->figures[i].key);
		write_cell(j, &r->figures[i]);
	}
}

/* "main.a, main.b" as an array. */
static void write_list(struct json *j, const char *text)
{
	json_array(j);
	while (*text) {
		size_t len = strcspn(text, ",");

		json_string_n(j, text, len);
		text += len;
		text += strspn(text, ", ");
	}
	json_array_end(j);
}

static void write_table_cell(struct json *j, const char *column, const struct report_figure *f)
{
	if (!strcmp(column, "shared_with") && f->kind == REPORT_TEXT)
		write_list(j, f->text ? f->text : "");
	else
		write_cell(j, f);
}

/* Of two columns, key and value. */
static bool is_object(const struct report_table *t)
{
	return t->n_columns == 2 && !strcmp(t->columns[0], "key") &&
	       !strcmp(t->columns[1], "value");
}

static void write_object(struct json *j, const struct report_table *t)
{
	json_key(j, t->key);
	json_object(j);
	for (size_t row = 0; row < t->n_rows; row++) {
		json_key(j, t->cells[2 * row].text ? t->cells[2 * row].text : "");
		write_cell(j, &t->cells[2 * row + 1]);
	}
	json_object_end(j);
}

static void write_table(struct json *j, const struct report_table *t)
{
	json_key(j, t->key);
	json_array(j);
	for (size_t row = 0; row < t->n_rows; row++) {
		json_object(j);
		for (size_t c = 0; c < t->n_columns; c++) {
			json_key(j, t->columns[c]);
			write_table_cell(j, t->columns[c], &t->cells[row * t->n_columns + c]);
		}
		json_object_end(j);
	}
	json_array_end(j);
}

static void write_tables(struct json *j, const struct report *r)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct report_table *t = &r->tables[i];

		if (is_own_key(t->key) || report_get(r, t->key))
			continue;
		if (is_object(t))
			write_object(j, t);
		else
			write_table(j, t);
	}
}

static bool lacks(const struct report *r, const char *key)
{
	return !report_get(r, key);
}

/* The promised keys are there even if nobody measured them: null says so. */
static void write_defaults(struct json *j, const struct view *v, const struct report *r)
{
	static const char *const promised[] = {
		"target",
		"engine",
		"estimated_slowdown",
		"lost_events",
		"complete_stacks_percent",
		"ended_by",
	};

	for (size_t i = 0; i < ARRAY_SIZE(promised); i++) {
		if (lacks(r, promised[i])) {
			json_key(j, promised[i]);
			json_null(j);
		}
	}
	if (lacks(r, "duration_seconds")) {
		json_key(j, "duration_seconds");
		json_double(j, (double)profile_duration_ns(v->p) / 1e9);
	}
	if (lacks(r, "held_bytes")) {
		json_key(j, "held_bytes");
		json_int(j, profile_total(v->p, profile_default_type(v->p)));
	}
}

static void write_frames(struct json *j, const struct profile *p, const struct profile_sample *s)
{
	char buf[FRAME_BYTES];

	json_key(j, "frames");
	json_array(j);
	for (size_t i = 0; i < s->n_frames; i++)
		json_string(j, view_frame_text(p, s->frames[i], buf, sizeof(buf)));
	json_array_end(j);
}

static bool has_source(const struct profile *p, const struct profile_sample *s)
{
	for (size_t i = 0; i < s->n_frames; i++) {
		const struct profile_frame *f = profile_frame_at(p, s->frames[i]);

		if (f && f->file)
			return true;
	}
	return false;
}

static void write_locations(struct json *j, const struct profile *p, const struct profile_sample *s)
{
	json_key(j, "locations");
	json_array(j);
	for (size_t i = 0; i < s->n_frames; i++) {
		const struct profile_frame *f = profile_frame_at(p, s->frames[i]);

		if (!f || !f->file) {
			json_null(j);
			continue;
		}
		json_object(j);
		json_key(j, "file");
		json_string(j, profile_text(p, f->file));
		json_key(j, "line");
		json_uint(j, f->line);
		json_object_end(j);
	}
	json_array_end(j);
}

static void write_labels(struct json *j, const struct profile *p, const struct profile_sample *s)
{
	json_key(j, "labels");
	json_object(j);
	for (size_t i = 0; i < s->n_labels; i++) {
		const struct profile_label *l = &s->labels[i];

		json_key(j, profile_text(p, l->key));
		if (l->text)
			json_string(j, profile_text(p, l->text));
		else
			json_int(j, l->number);
	}
	json_object_end(j);
}

static void write_extra(struct json *j, const char *key, const struct profile_sample *s, int type)
{
	if (type < 0)
		return;
	json_key(j, key);
	json_int(j, s->values[type]);
}

static void write_ends(struct json *j, const char *name, const struct interval_sum *sum)
{
	char key[40];
	int64_t low, high;

	interval_text_ends(sum, &low, &high);
	snprintf(key, sizeof(key), "%s_low", name);
	json_key(j, key);
	json_int(j, low);
	snprintf(key, sizeof(key), "%s_high", name);
	json_key(j, key);
	json_int(j, high);
}

static void write_interval(struct json *j, const struct view *v, const char *name, int type,
                           const struct profile_sample *s)
{
	struct interval_types t;
	struct interval_sum sum;

	if (type < 0 || !interval_find(v->p, (size_t)type, &t))
		return;
	sum = interval_sum_of(v->p, &t, s->values);
	write_ends(j, name, &sum);
}

static void write_intervals(struct json *j, const struct view *v, const struct profile_sample *s)
{
	write_interval(j, v, "bytes", v->bytes, s);
	write_interval(j, v, "count", v->count, s);
	write_interval(j, v, "alloc_bytes", profile_find_type(v->p, "alloc_space"), s);
	write_interval(j, v, "alloc_count", profile_find_type(v->p, "alloc_objects"), s);
	if (v->is_sampled)
		write_extra(j, "samples", s, v->interval.samples);
}

static void write_values(struct json *j, const struct view *v, const struct profile_sample *s)
{
	json_key(j, "bytes");
	json_int(j, s->values[v->bytes >= 0 ? v->bytes : (int)v->type]);
	json_key(j, "count");
	if (v->count >= 0)
		json_int(j, s->values[v->count]);
	else
		json_null(j);
	write_intervals(j, v, s);
	write_extra(j, "alloc_bytes", s, profile_find_type(v->p, "alloc_space"));
	write_extra(j, "alloc_count", s, profile_find_type(v->p, "alloc_objects"));
	write_extra(j, "mapped_bytes", s, profile_find_type(v->p, "mapped_bytes"));
	write_extra(j, "resident_bytes", s, profile_find_type(v->p, "resident_bytes"));
	write_extra(j, "touched_bytes", s, profile_find_type(v->p, "touched_bytes"));
	write_extra(j, "calls", s, profile_find_type(v->p, "calls"));
	write_extra(j, "faults", s, profile_find_type(v->p, "faults"));
	write_extra(j, "growth_bytes", s, v->growth);
	write_extra(j, "after", s, v->after);
	write_extra(j, "before", s, v->before);
	write_extra(j, "delta", s, v->delta);
	if (v->age >= 0 && v->count >= 0 && s->values[v->count] > 0) {
		json_key(j, "average_age_seconds");
		json_double(j, (double)s->values[v->age] / 1e9 / (double)s->values[v->count]);
	}
}

static void write_stack(struct json *j, const struct view *v, size_t row)
{
	struct profile_sample s = profile_sample_at(v->p, v->rows[row].sample);

	json_object(j);
	write_frames(j, v->p, &s);
	write_values(j, v, &s);
	write_labels(j, v->p, &s);
	if (has_source(v->p, &s))
		write_locations(j, v->p, &s);
	json_object_end(j);
}

static void write_head(struct json *j, const struct view *v)
{
	const struct profile_type *t = profile_type_at(v->p, v->type);

	json_key(j, "format");
	json_string(j, "memwho-stacks-1");
	json_key(j, "value_type");
	json_string(j, t->name);
	json_key(j, "shown_bytes");
	json_int(j, v->bytes < 0 ? v->total : profile_total(v->p, (size_t)v->bytes));
	if (v->is_sampled && v->bytes == (int)v->type) {
		const struct interval_sum sum = interval_text_total(v);

		write_ends(j, "shown_bytes", &sum);
	}
}

static int64_t integer(const struct report *r, const char *key)
{
	const struct report_figure *f = report_get(r, key);

	return f && f->kind == REPORT_INT ? f->integer : 0;
}

/* What was reached against what the runtime has allocated: the difference is garbage
 * that is not swept yet, or something that was not found. */
static void write_self_check(struct json *j, const struct report *r)
{
	int64_t own = integer(r, "own_live_bytes");
	int64_t reached = integer(r, "live_bytes");

	json_key(j, "partial");
	json_bool(j, report_get(r, "partial") != NULL);
	json_key(j, "self_check");
	json_object(j);
	json_key(j, "allocated_bytes");
	json_int(j, own);
	json_key(j, "reached_bytes");
	json_int(j, reached);
	json_key(j, "unreached_percent");
	json_double(j, own ? 100.0 * (double)(own - reached) / (double)own : 0.0);
	json_object_end(j);
}

static void write_all(struct json *j, const struct view *v, const struct report *report)
{
	json_object(j);
	write_head(j, v);
	write_figures(j, report);
	if (view_is_refs(v->p))
		write_self_check(j, report);
	else if (!contexts_text_is(v->p))
		write_defaults(j, v, report);
	write_tables(j, report);
	json_key(j, "stacks");
	json_array(j);
	for (size_t i = 0; i < v->n_rows; i++) {
		fputc('\n', j->to);
		write_stack(j, v, i);
	}
	json_array_end(j);
	json_object_end(j);
	fputc('\n', j->to);
}

/* A frame list of a call graph is leaf first here whatever --reverse says. */
int profile_json_write(const struct profile *p, const struct render_options *o, FILE *to,
                       struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	struct json j = json_on(to);
	int r;

	if (ladder_diff_is(p)) {
		r = ladder_diff_json_write(p, to, err);
		return r < 0 ? r : render_check(to, err);
	}
	if (ladder_rows_is(p)) {
		r = ladder_json_write(p, to, err);
		return r < 0 ? r : render_check(to, err);
	}
	r = view_make(p, o, VIEW_BY_NAME, &v, err);
	if (r < 0)
		return r;
	write_all(&j, &v, profile_report_const(p));
	return render_check(to, err);
}
