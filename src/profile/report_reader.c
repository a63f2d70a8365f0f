/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/report_reader.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/pprof_format.h"
#include "profile/text.h"

static const char *const kind_names[] = {
	[REPORT_INT] = "int", [REPORT_DOUBLE] = "double", [REPORT_TEXT] = "text"
};

enum {
	JSON_BYTES = 16 * 1024 * 1024, /* of one comment; jansson takes some 50 times as much */
	MAX_FIGURES = 4096,
	MAX_COLUMNS = 64,
	MAX_TABLES = 256,
};

void report_reader_clear(struct report_reader *r)
{
	report_clear(&r->raw);
	json_decref(r->meta);
	*r = (struct report_reader){ 0 };
}

static void json_free(json_t **j)
{
	json_decref(*j);
}

/* NULL also for text that is no JSON: hostile text is no reason to stop. */
static json_t *parse(const char *text)
{
	size_t len = strlen(text);

	return len > JSON_BYTES ? NULL : json_loadb(text, len, 0, NULL);
}

/* -EBADMSG without *err: counted by the caller. */
static int read_figure(struct report_reader *r, const char *text, struct error *err)
{
	cleanup(text_clear) struct text key = { 0 }, value = { 0 };
	const char *equals = strchr(text, '=');
	int e;

	if (!equals || r->raw.n_figures >= MAX_FIGURES)
		return -EBADMSG;
	e = text_append_unescaped(&key, text, (size_t)(equals - text), err);
	if (e == 0)
		e = text_append_unescaped(&value, equals + 1, strlen(equals + 1), err);
	return e < 0 ? e : report_text(&r->raw, key.s, NULL, value.s, err);
}

static int read_meta(struct report_reader *r, const char *text)
{
	cleanup(json_free) json_t *meta = parse(text);

	if (!json_is_object(meta) || r->meta)
		return -EBADMSG;
	r->meta = take_ptr(meta);
	return 0;
}

static bool read_columns(const json_t *columns, const char *ret[MAX_COLUMNS])
{
	size_t n = json_array_size(columns);

	if (n == 0 || n > MAX_COLUMNS)
		return false;
	for (size_t i = 0; i < n; i++) {
		ret[i] = json_string_value(json_array_get(columns, i));
		if (!ret[i])
			return false;
	}
	return true;
}

static struct report_figure read_cell(const json_t *cell, const json_t *kind)
{
	const char *name = json_string_value(kind);

	if (json_is_string(cell))
		return (struct report_figure){ .kind = REPORT_TEXT,
			                       .text = (char *)json_string_value(cell) };
	if (json_is_integer(cell) && !(name && strcmp(name, kind_names[REPORT_DOUBLE]) == 0))
		return (struct report_figure){ .kind = REPORT_INT,
			                       .integer = json_integer_value(cell) };
	return (struct report_figure){ .kind = REPORT_DOUBLE,
		                       .real = json_is_number(cell) ? json_number_value(cell)
		                                                    : NAN };
}

static int read_row(struct report_table *t, const json_t *row, const json_t *kinds,
                    struct error *err)
{
	struct report_figure cells[MAX_COLUMNS];

	if (json_array_size(row) != t->n_columns)
		return -EBADMSG;
	for (size_t i = 0; i < t->n_columns; i++)
		cells[i] = read_cell(json_array_get(row, i), json_array_get(kinds, i));
	return report_row(t, cells, err);
}

static int read_table(const char *text, struct report *to, struct error *err)
{
	cleanup(json_free) json_t *j = parse(text);
	const char *key = json_string_value(json_object_get(j, "key")), *columns[MAX_COLUMNS];
	const json_t *heads = json_object_get(j, "columns"), *rows = json_object_get(j, "rows");
	const json_t *kinds = json_object_get(j, "kinds");
	struct report_table *t;
	int r;

	if (!key || to->n_tables >= MAX_TABLES || !read_columns(heads, columns))
		return -EBADMSG;
	r = report_table(to, key, columns, json_array_size(heads), &t, err);
	for (size_t i = 0; r == 0 && i < json_array_size(rows); i++)
		r = read_row(t, json_array_get(rows, i), kinds, err);
	return r;
}

static bool has_mark(const char **text, const char *mark)
{
	size_t n = strlen(mark);

	if (strncmp(*text, mark, n) != 0)
		return false;
	*text += n;
	return true;
}

int report_reader_take(struct report_reader *r, const char *text, struct report *to,
                       struct error *err)
{
	int e = 0;

	if (has_mark(&text, PPROF_FIGURE_MARK))
		e = read_figure(r, text, err);
	else if (has_mark(&text, PPROF_META_MARK))
		e = read_meta(r, text);
	else if (has_mark(&text, PPROF_TABLE_MARK))
		e = read_table(text, to, err);
	if (e == -ENOMEM)
		return e;
	r->n_ignored += e < 0;
	return 0;
}

static bool may_be(const char *kind, enum report_kind wanted)
{
	return !kind || strcmp(kind, kind_names[wanted]) == 0;
}

static bool is_integer(const char *s, int64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoll(s, &end, 10);
	return *s && !*end && !errno;
}

static bool is_real(const char *s, double *ret)
{
	char *end;

	*ret = strtod(s, &end);
	return *s && !*end;
}

int report_reader_finish(struct report_reader *r, struct report *to, struct error *err)
{
	int e = 0;

	for (size_t i = 0; e == 0 && i < r->raw.n_figures; i++) {
		const struct report_figure *f = &r->raw.figures[i];
		const json_t *meta = json_object_get(r->meta, f->key);
		const char *title = json_string_value(json_array_get(meta, 0));
		const char *unit = json_string_value(json_array_get(meta, 1));
		const char *kind = json_string_value(json_array_get(meta, 2));
		int64_t integer;
		double real;

		if (may_be(kind, REPORT_INT) && is_integer(f->text, &integer))
			e = report_int(to, f->key, title, integer, unit, err);
		else if (may_be(kind, REPORT_DOUBLE) && is_real(f->text, &real))
			e = report_double(to, f->key, title, real, unit, err);
		else
			e = report_text(to, f->key, title, f->text, err);
	}
	return e;
}
