/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_json.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "profile/ladder_rows.h"

static bool may_be_unknown(const char *key)
{
	return !strcmp(key, "in_use_bytes") || !strcmp(key, "cached_bytes") ||
	       !strcmp(key, "bytes") || !strcmp(key, "reclaimable");
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

/* "dirty_bytes=4096 ..." as an object. */
static void write_figures(struct json *j, const char *text)
{
	char key[64];
	int64_t v;

	json_object(j);
	while (ladder_rows_figure(&text, key, sizeof(key), &v)) {
		json_key(j, key);
		json_int(j, v);
	}
	json_object_end(j);
}

static void write_row(struct json *j, const struct report_table *t, size_t row)
{
	json_object(j);
	for (size_t c = 0; c < t->n_columns; c++) {
		const struct report_figure *f = &t->cells[row * t->n_columns + c];

		json_key(j, t->columns[c]);
		if (f->kind == REPORT_TEXT && !strcmp(t->columns[c], "figures"))
			write_figures(j, f->text ? f->text : "");
		else
			write_value(j, f, may_be_unknown(t->columns[c]));
	}
	json_object_end(j);
}

/* {key: value}; the rows are key and value. */
static void write_settings(struct json *j, const struct report_table *t)
{
	json_object(j);
	for (size_t row = 0; row < t->n_rows; row++) {
		json_key(j, ladder_rows_text(t, row, "key"));
		json_string(j, ladder_rows_text(t, row, "value"));
	}
	json_object_end(j);
}

static void write_table(struct json *j, const struct report_table *t)
{
	fputc('\n', j->to);
	json_key(j, t->key);
	if (!strcmp(t->key, "settings")) {
		write_settings(j, t);
		return;
	}
	json_array(j);
	for (size_t row = 0; row < t->n_rows; row++) {
		fputc('\n', j->to);
		write_row(j, t, row);
	}
	json_array_end(j);
}

static const char *const own_keys[] = { "format", "allocator_bytes", "application_bytes",
	                                "application_at_least" };
/* There even when there is nothing in them. */
static const char *const lists[] = { "parts", "findings", "cgroup" };

/* The report of a foreign file can name its figures as it likes. */
static bool is_taken(const struct report *r, const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_keys); i++) {
		if (!strcmp(own_keys[i], key))
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		if (!strcmp(lists[i], key))
			return true;
	}
	return ladder_rows_table(r, key) != NULL;
}

static int write_head(struct json *j, const struct profile *p, struct error *err)
{
	cleanup(ladder_rows_clear) struct ladder_rows rows = { 0 };
	const struct report *r = profile_report_const(p);
	int64_t resident, application;
	bool at_least;
	int e = ladder_rows_make(p, &rows, err);

	if (e < 0)
		return e;
	ladder_rows_heaps(&rows, &resident, &application, &at_least);
	json_key(j, "format");
	json_string(j, "memwho-ladder-1");
	for (size_t i = 0; i < r->n_figures; i++) {
		if (is_taken(r, r->figures[i].key))
			continue;
		json_key(j, r->figures[i].key);
		write_value(j, &r->figures[i], false);
	}
	json_key(j, "allocator_bytes");
	json_int(j, resident);
	json_key(j, "application_bytes");
	json_int(j, application);
	json_key(j, "application_at_least");
	json_bool(j, at_least);
	return 0;
}

int ladder_json_write(const struct profile *p, FILE *to, struct error *err)
{
	const struct report *r = profile_report_const(p);
	struct json j = json_on(to);
	int e;

	json_object(&j);
	e = write_head(&j, p, err);
	if (e < 0)
		return e;
	for (size_t i = 0; i < r->n_tables; i++)
		write_table(&j, &r->tables[i]);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		if (ladder_rows_table(r, lists[i]))
			continue;
		json_key(&j, lists[i]);
		json_array(&j);
		json_array_end(&j);
	}
	json_object_end(&j);
	fputc('\n', to);
	return 0;
}
