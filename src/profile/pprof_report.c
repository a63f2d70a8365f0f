/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/pprof_report.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "profile/pprof_format.h"
#include "profile/text.h"

static const char *const kind_names[] = {
	[REPORT_INT] = "int", [REPORT_DOUBLE] = "double", [REPORT_TEXT] = "text"
};

/* A table's next rows go to a new comment above this: readers bound each. */
enum { COMMENT_BYTES = 256 * 1024 };

struct sink {
	int (*line)(void *arg, const char *text, struct error *err);
	void *arg;
};

/* Figures */

static void value_text(const struct report_figure *f, char *buf, size_t size)
{
	if (f->kind == REPORT_INT) {
		snprintf(buf, size, "%" PRId64, f->integer);
		return;
	}
	/* the short form if it is the same number */
	snprintf(buf, size, "%.15g", f->real);
	if (strtod(buf, NULL) != f->real)
		snprintf(buf, size, "%.17g", f->real);
}

static int write_figure(const struct report_figure *f, const struct sink *to, struct error *err)
{
	cleanup(text_clear) struct text t = { 0 };
	char number[64];
	int r = text_append(&t, PPROF_FIGURE_MARK, strlen(PPROF_FIGURE_MARK), err);

	value_text(f, number, sizeof(number));
	if (r == 0)
		r = text_append_escaped(&t, f->key, "=", err);
	if (r == 0)
		r = text_append(&t, "=", 1, err);
	if (r == 0 && f->kind == REPORT_TEXT)
		r = text_append_escaped(&t, f->text ? f->text : "", "", err);
	else if (r == 0)
		r = text_append(&t, number, strlen(number), err);
	return r < 0 ? r : to->line(to->arg, t.s, err);
}

static void put_meta(const struct report *r, FILE *to)
{
	struct json j = json_on(to);

	json_object(&j);
	for (size_t i = 0; i < r->n_figures; i++) {
		const struct report_figure *f = &r->figures[i];

		json_key(&j, f->key);
		json_array(&j);
		if (f->title)
			json_string(&j, f->title);
		else
			json_null(&j);
		json_string(&j, f->unit);
		json_string(&j, kind_names[f->kind]);
		json_array_end(&j);
	}
	json_object_end(&j);
}

static int write_meta(const struct report *r, const struct sink *to, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool failed;

	if (!f)
		return error_oom(err);
	fputs(PPROF_META_MARK, f);
	put_meta(r, f);
	failed = ferror(f);
	return fclose(f) != 0 || failed ? error_oom(err) : to->line(to->arg, text, err);
}

/* Tables */

static void put_cell(struct json *j, const struct report_figure *cell)
{
	switch (cell->kind) {
	case REPORT_INT: json_int(j, cell->integer); break;
	case REPORT_DOUBLE: json_double(j, cell->real); break;
	case REPORT_TEXT: json_string(j, cell->text ? cell->text : ""); break;
	}
}

static void put_head(struct json *j, const struct report_table *t)
{
	json_key(j, "key");
	json_string(j, t->key);
	json_key(j, "columns");
	json_array(j);
	for (size_t i = 0; i < t->n_columns; i++)
		json_string(j, t->columns[i]);
	json_array_end(j);
	/* 5.0 and 5 look the same in JSON */
	json_key(j, "kinds");
	json_array(j);
	for (size_t i = 0; t->n_rows && i < t->n_columns; i++)
		json_string(j, kind_names[t->cells[i].kind]);
	json_array_end(j);
}

/* Rows from *row on, until the comment is long enough. */
static void put_rows(struct json *j, const struct report_table *t, size_t *row)
{
	json_key(j, "rows");
	json_array(j);
	for (; *row < t->n_rows && ftell(j->to) < COMMENT_BYTES; ++*row) {
		json_array(j);
		for (size_t i = 0; i < t->n_columns; i++)
			put_cell(j, &t->cells[*row * t->n_columns + i]);
		json_array_end(j);
	}
	json_array_end(j);
}

static int write_rows(const struct report_table *t, size_t *row, const struct sink *to,
                      struct error *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	struct json j = json_on(f);
	bool failed;

	if (!f)
		return error_oom(err);
	fputs(PPROF_TABLE_MARK, f);
	json_object(&j);
	put_head(&j, t);
	put_rows(&j, t, row);
	json_object_end(&j);
	failed = ferror(f);
	return fclose(f) != 0 || failed ? error_oom(err) : to->line(to->arg, text, err);
}

static int write_table(const struct report_table *t, const struct sink *to, struct error *err)
{
	size_t row = 0;
	int r;

	do {
		r = write_rows(t, &row, to, err);
	} while (r == 0 && row < t->n_rows);
	return r;
}

int pprof_report_write(const struct report *r,
                       int (*line)(void *arg, const char *text, struct error *err), void *arg,
                       struct error *err)
{
	struct sink to = { line, arg };
	int e = 0;

	for (size_t i = 0; e == 0 && i < r->n_figures; i++)
		e = write_figure(&r->figures[i], &to, err);
	if (e == 0 && r->n_figures)
		e = write_meta(r, &to, err);
	for (size_t i = 0; e == 0 && i < r->n_tables; i++)
		e = write_table(&r->tables[i], &to, err);
	return e;
}
