/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/report.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

static void figure_clear(struct report_figure *f)
{
	free(f->key);
	free(f->title);
	free(f->text);
	*f = (struct report_figure){ 0 };
}

static void table_clear(struct report_table *t)
{
	for (size_t i = 0; i < t->n_rows * t->n_columns; i++)
		figure_clear(&t->cells[i]);
	for (size_t i = 0; i < t->n_columns; i++)
		free(t->columns[i]);
	free(t->cells);
	free(t->columns);
	free(t->key);
	*t = (struct report_table){ 0 };
}

void report_clear(struct report *r)
{
	for (size_t i = 0; i < r->n_figures; i++)
		figure_clear(&r->figures[i]);
	for (size_t i = 0; i < r->n_tables; i++)
		table_clear(&r->tables[i]);
	free(r->figures);
	free(r->tables);
	*r = (struct report){ 0 };
}

/* Copy of @s in *ret; NULL stays NULL. */
static int duplicate(const char *s, char **ret, struct error *err)
{
	char *copy = s ? strdup(s) : NULL;

	if (s && !copy)
		return error_oom(err);
	*ret = copy;
	return 0;
}

static int figure_copy(const struct report_figure *from, struct report_figure *ret,
                       struct error *err)
{
	struct report_figure copy = *from;
	int r;

	copy.key = copy.title = copy.text = NULL;
	r = duplicate(from->key, &copy.key, err);
	if (r == 0)
		r = duplicate(from->title, &copy.title, err);
	if (r == 0)
		r = duplicate(from->kind == REPORT_TEXT ? from->text : NULL, &copy.text, err);
	if (r < 0) {
		figure_clear(&copy);
		return r;
	}
	*ret = copy;
	return 0;
}

static struct report_figure *find(const struct report *r, const char *key)
{
	for (size_t i = 0; i < r->n_figures; i++) {
		if (strcmp(r->figures[i].key, key) == 0)
			return &r->figures[i];
	}
	return NULL;
}

const struct report_figure *report_get(const struct report *r, const char *key)
{
	return find(r, key);
}

static int set(struct report *to, const struct report_figure *from, struct error *err)
{
	struct report_figure copy, *old;
	int r = array_reserve(&to->figures, &to->cap_figures, to->n_figures + 1, err);

	if (r < 0)
		return r;
	r = figure_copy(from, &copy, err);
	if (r < 0)
		return r;
	old = find(to, copy.key);
	if (old)
		figure_clear(old);
	else
		old = &to->figures[to->n_figures++];
	*old = copy;
	return 0;
}

static void set_unit(struct report_figure *f, const char *unit)
{
	size_t n = unit ? strnlen(unit, sizeof(f->unit) - 1) : 0;

	if (n)
		memcpy(f->unit, unit, n);
	f->unit[n] = '\0';
}

int report_int(struct report *r, const char *key, const char *title, int64_t v, const char *unit,
               struct error *err)
{
	struct report_figure f = {
		.key = (char *)key, .title = (char *)title, .kind = REPORT_INT, .integer = v
	};

	set_unit(&f, unit);
	return set(r, &f, err);
}

int report_double(struct report *r, const char *key, const char *title, double v, const char *unit,
                  struct error *err)
{
	struct report_figure f = {
		.key = (char *)key, .title = (char *)title, .kind = REPORT_DOUBLE, .real = v
	};

	set_unit(&f, unit);
	return set(r, &f, err);
}

int report_text(struct report *r, const char *key, const char *title, const char *v,
                struct error *err)
{
	struct report_figure f = { .key = (char *)key,
		                   .title = (char *)title,
		                   .kind = REPORT_TEXT,
		                   .text = (char *)(v ? v : "") };

	return set(r, &f, err);
}

static struct report_table *find_table(const struct report *r, const char *key)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		if (strcmp(r->tables[i].key, key) == 0)
			return &r->tables[i];
	}
	return NULL;
}

static int table_make(const char *key, const char *const *columns, size_t n_columns,
                      struct report_table *ret, struct error *err)
{
	cleanup(table_clear) struct report_table t = { 0 };
	int r;

	if (!n_columns)
		return error_set(err, EINVAL, "table %s has no columns", key);
	t.columns = calloc(n_columns, sizeof(*t.columns));
	if (!t.columns)
		return error_oom(err);
	t.n_columns = n_columns;
	r = duplicate(key, &t.key, err);
	for (size_t i = 0; r == 0 && i < n_columns; i++)
		r = duplicate(columns[i], &t.columns[i], err);
	if (r < 0)
		return r;
	*ret = t;
	t = (struct report_table){ 0 };
	return 0;
}

int report_table(struct report *r, const char *key, const char *const *columns, size_t n_columns,
                 struct report_table **ret, struct error *err)
{
	struct report_table *t = find_table(r, key);
	int e;

	if (t && t->n_columns != n_columns)
		return error_set(err, EINVAL, "table %s has %zu columns, not %zu", key,
		                 t->n_columns, n_columns);
	if (!t) {
		e = array_reserve(&r->tables, &r->cap_tables, r->n_tables + 1, err);
		if (e < 0)
			return e;
		t = &r->tables[r->n_tables];
		e = table_make(key, columns, n_columns, t, err);
		if (e < 0)
			return e;
		r->n_tables++;
	}
	*ret = t;
	return 0;
}

int report_row(struct report_table *t, const struct report_figure *cells, struct error *err)
{
	size_t start = t->n_rows * t->n_columns;
	int r = array_reserve(&t->cells, &t->cap_cells, start + t->n_columns, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_columns; i++) {
		struct report_figure cell = cells[i];

		cell.key = cell.title = NULL;
		r = figure_copy(&cell, &t->cells[start + i], err);
		if (r < 0) {
			while (i-- > 0)
				figure_clear(&t->cells[start + i]);
			return r;
		}
	}
	t->n_rows++;
	return 0;
}

static int table_copy(struct report *to, const struct report_table *from, struct error *err)
{
	struct report_table *t = find_table(to, from->key);
	int r;

	if (t) {
		table_clear(t);
		*t = to->tables[--to->n_tables];
	}
	r = report_table(to, from->key, (const char *const *)from->columns, from->n_columns, &t,
	                 err);
	for (size_t i = 0; r == 0 && i < from->n_rows; i++)
		r = report_row(t, from->cells + i * from->n_columns, err);
	return r;
}

int report_copy(struct report *to, const struct report *from, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < from->n_figures; i++)
		r = set(to, &from->figures[i], err);
	for (size_t i = 0; r == 0 && i < from->n_tables; i++)
		r = table_copy(to, &from->tables[i], err);
	return r;
}
