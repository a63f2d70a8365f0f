/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/ladder_rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/samples.h"

bool ladder_rows_is(const struct profile *p)
{
	const struct report_figure *f = report_get(profile_report_const(p), "result");

	return f && f->kind == REPORT_TEXT && f->text && !strcmp(f->text, "ladder");
}

const struct report_table *ladder_rows_table(const struct report *r, const char *key)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		if (!strcmp(r->tables[i].key, key))
			return &r->tables[i];
	}
	return NULL;
}

static const struct report_figure *cell(const struct report_table *t, size_t row,
                                        const char *column)
{
	for (size_t c = 0; c < t->n_columns; c++) {
		if (!strcmp(t->columns[c], column))
			return &t->cells[row * t->n_columns + c];
	}
	return NULL;
}

const char *ladder_rows_text(const struct report_table *t, size_t row, const char *column)
{
	const struct report_figure *f = cell(t, row, column);

	return f && f->kind == REPORT_TEXT && f->text ? f->text : "";
}

int64_t ladder_rows_int(const struct report_table *t, size_t row, const char *column,
                        int64_t missing)
{
	const struct report_figure *f = cell(t, row, column);

	return f && f->kind == REPORT_INT ? f->integer : missing;
}

/* A size below nothing is somebody's joke. */
static int64_t size_of(const struct report_table *t, size_t row, const char *column,
                       int64_t missing)
{
	int64_t v = ladder_rows_int(t, row, column, missing);

	return v < 0 ? missing : v;
}

static struct ladder_row row_of(const struct report_table *t, size_t row)
{
	return (struct ladder_row){
		.kind = ladder_rows_text(t, row, "kind"),
		.name = ladder_rows_text(t, row, "name"),
		.detail = ladder_rows_text(t, row, "detail"),
		.evidence = ladder_rows_text(t, row, "evidence"),
		.inside = ladder_rows_text(t, row, "inside"),
		.unknown_why = ladder_rows_text(t, row, "unknown_why"),
		.path = ladder_rows_text(t, row, "path"),
		.figures = ladder_rows_text(t, row, "figures"),
		.virtual_bytes = size_of(t, row, "virtual_bytes", 0),
		.resident_bytes = size_of(t, row, "resident_bytes", 0),
		.reserved_bytes = size_of(t, row, "reserved_bytes", 0),
		.swap_bytes = size_of(t, row, "swap_bytes", 0),
		.pss_bytes = size_of(t, row, "pss_bytes", 0),
		.huge_bytes = size_of(t, row, "huge_bytes", 0),
		.file_bytes = size_of(t, row, "file_bytes", 0),
		.locked_bytes = size_of(t, row, "locked_bytes", 0),
		.in_use_bytes = size_of(t, row, "in_use_bytes", -1),
		.cached_bytes = size_of(t, row, "cached_bytes", -1),
		.ranges = size_of(t, row, "ranges", 0),
		.checked = size_of(t, row, "checked", 0),
		.inconsistent = size_of(t, row, "inconsistent", 0),
		.pid = size_of(t, row, "pid", 0),
	};
}

int ladder_rows_make(const struct profile *p, struct ladder_rows *ret, struct error *err)
{
	const struct report_table *t = ladder_rows_table(profile_report_const(p), "parts");
	struct ladder_rows rows = { .n = t ? t->n_rows : 0 };

	if (!ladder_rows_is(p))
		return error_set(err, EINVAL, "not a ladder");
	rows.items = calloc(rows.n + 1, sizeof(*rows.items));
	if (!rows.items)
		return error_oom(err);
	for (size_t i = 0; i < rows.n; i++)
		rows.items[i] = row_of(t, i);
	*ret = rows;
	return 0;
}

void ladder_rows_clear(struct ladder_rows *r)
{
	free(r->items);
	*r = (struct ladder_rows){ 0 };
}

int64_t ladder_rows_total(const struct profile *p, const char *key, int64_t missing)
{
	const struct report_figure *f = report_get(profile_report_const(p), key);

	return f && f->kind == REPORT_INT ? f->integer : missing;
}

bool ladder_rows_figure(const char **pos, char *key, size_t size, int64_t *value)
{
	const char *at = *pos;

	for (;;) {
		size_t n;
		char *end;

		at += strspn(at, " ");
		n = strcspn(at, " =");
		if (!*at)
			return false;
		if (at[n] != '=' || !n || n >= size) { /* not ours: the next word */
			at += n + (at[n] == '=');
			continue;
		}
		memcpy(key, at, n);
		key[n] = '\0';
		errno = 0;
		*value = strtoll(at + n + 1, &end, 10);
		*pos = end + strcspn(end, " ");
		if (end > at + n + 1 && !errno)
			return true;
		at = *pos;
	}
}

bool ladder_rows_is_heap(const char *kind)
{
	static const char *const kinds[] = { "glibc-arena", "glibc-mmapped", "jemalloc", "tcmalloc",
		                             "mimalloc",    "musl",          "go",       "postgres",
		                             "python",      "lua",           "jvm",      "v8",
		                             "other-heap" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kind, kinds[i]))
			return true;
	}
	return false;
}

void ladder_rows_heaps(const struct ladder_rows *r, int64_t *resident, int64_t *application,
                       bool *at_least)
{
	*resident = *application = 0;
	*at_least = false;
	for (size_t i = 0; i < r->n; i++) {
		const struct ladder_row *row = &r->items[i];
		int64_t cached = row->cached_bytes > 0 ? row->cached_bytes : 0;

		if (!ladder_rows_is_heap(row->kind) || row->inside[0])
			continue;
		*resident = samples_sum(*resident, row->resident_bytes);
		*at_least |= row->in_use_bytes < 0 && row->unknown_why[0];
		if (row->in_use_bytes > cached)
			*application = samples_sum(*application, row->in_use_bytes - cached);
	}
}
