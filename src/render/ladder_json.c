/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_json.h"

#include <string.h>

#include "base/json.h"

bool ladder_json_is_ladder(const struct profile *p)
{
	const struct report_figure *f = report_get(profile_report_const(p), "result");

	return f && f->kind == REPORT_TEXT && f->text && !strcmp(f->text, "ladder");
}

static bool may_be_unknown(const char *key)
{
	return !strcmp(key, "in_use_bytes") || !strcmp(key, "cached_bytes") ||
	       !strcmp(key, "bytes");
}

static void write_value(struct json *j, const struct report_figure *f, bool unknown)
{
	if (f->kind == REPORT_INT && f->integer == -1 && unknown)
		json_null(j);
	else if (f->kind == REPORT_INT)
		json_int(j, f->integer);
	else if (f->kind == REPORT_DOUBLE)
		json_double(j, f->real);
	else
		json_string(j, f->text ? f->text : "");
}

static void write_table(struct json *j, const struct report_table *t)
{
	json_key(j, t->key);
	json_array(j);
	for (size_t row = 0; row < t->n_rows; row++) {
		fputc('\n', j->to);
		json_object(j);
		for (size_t c = 0; c < t->n_columns; c++) {
			json_key(j, t->columns[c]);
			write_value(j, &t->cells[row * t->n_columns + c],
			            may_be_unknown(t->columns[c]));
		}
		json_object_end(j);
	}
	json_array_end(j);
}

void ladder_json_write(const struct profile *p, FILE *to)
{
	const struct report *r = profile_report_const(p);
	struct json j = json_on(to);

	json_object(&j);
	json_key(&j, "format");
	json_string(&j, "memwho-ladder-1");
	for (size_t i = 0; i < r->n_figures; i++) {
		json_key(&j, r->figures[i].key);
		write_value(&j, &r->figures[i], false);
	}
	for (size_t i = 0; i < r->n_tables; i++)
		write_table(&j, &r->tables[i]);
	json_object_end(&j);
	fputc('\n', to);
}
