/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_diff_json.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "profile/ladder_diff.h"

static const char *const lists[] = { "differences", "settings", "explanations" };

static bool is_taken(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		if (!strcmp(lists[i], key))
			return true;
	}
	return !strcmp(key, "format");
}

static void write_value(struct json *j, const struct report_figure *f)
{
	if (f->kind == REPORT_INT)
		json_int(j, f->integer);
	else if (f->kind == REPORT_DOUBLE)
		json_double(j, f->real);
	else
		json_string(j, f->text ? f->text : "");
}

/* An "in use" that is not known, and a setting that is not set, are null. */
static void write_cell(struct json *j, const struct report_table *t, size_t row, size_t c)
{
	const struct report_figure *f = &t->cells[row * t->n_columns + c];
	bool side = !strcmp(t->columns[c], "before") || !strcmp(t->columns[c], "after");

	json_key(j, t->columns[c]);
	if (f->kind == REPORT_INT && f->integer == -1 && !strncmp(t->columns[c], "in_use", 6))
		json_null(j);
	else if (f->kind == REPORT_TEXT && side && !(f->text && *f->text))
		json_null(j);
	else
		write_value(j, f);
}

static void write_list(struct json *j, const struct report *r, const char *key)
{
	const struct report_table *t = ladder_rows_table(r, key);

	fputc('\n', j->to);
	json_key(j, key);
	json_array(j);
	for (size_t row = 0; t && row < t->n_rows; row++) {
		fputc('\n', j->to);
		json_object(j);
		for (size_t c = 0; c < t->n_columns; c++)
			write_cell(j, t, row, c);
		json_object_end(j);
	}
	json_array_end(j);
}

int ladder_diff_json_write(const struct profile *p, FILE *to, struct error *err)
{
	const struct report *r = profile_report_const(p);
	struct json j = json_on(to);

	if (!ladder_diff_is(p))
		return error_set(err, EINVAL, "not a difference of ladders");
	json_object(&j);
	json_key(&j, "format");
	json_string(&j, "memwho-ladder-diff-1");
	for (size_t i = 0; i < r->n_figures; i++) {
		if (is_taken(r->figures[i].key))
			continue;
		json_key(&j, r->figures[i].key);
		write_value(&j, &r->figures[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		write_list(&j, r, lists[i]);
	json_object_end(&j);
	fputc('\n', to);
	return 0;
}
