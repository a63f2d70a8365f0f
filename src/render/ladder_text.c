/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_text.h"

#include <string.h>

#include "render/escape.h"
#include "render/units.h"

enum { NAME_COLUMNS = 28, DETAIL_COLUMNS = 60 };

static const struct report_table *find(const struct report *r, const char *key)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		if (!strcmp(r->tables[i].key, key))
			return &r->tables[i];
	}
	return NULL;
}

static const struct report_figure *cell(const struct report_table *t, size_t row, const char *key)
{
	static const struct report_figure none = { .kind = REPORT_TEXT };

	for (size_t c = 0; c < t->n_columns; c++) {
		if (!strcmp(t->columns[c], key))
			return &t->cells[row * t->n_columns + c];
	}
	return &none;
}

static const char *text(const struct report_table *t, size_t row, const char *key)
{
	const struct report_figure *f = cell(t, row, key);

	return f->kind == REPORT_TEXT && f->text ? f->text : "";
}

static void put_bytes(const struct report_table *t, size_t row, const char *key, FILE *to)
{
	int64_t v = cell(t, row, key)->integer;
	char buf[UNITS_BYTES];

	fprintf(to, " %11s", v < 0 ? "?" : units_bytes(v, buf, sizeof(buf)));
}

static void put_part(const struct report_table *t, size_t row, FILE *to)
{
	size_t width;

	fprintf(to, "  %-13s ", text(t, row, "kind"));
	width = escape_text(to, text(t, row, "name"), NAME_COLUMNS);
	fprintf(to, "%*s", (int)(NAME_COLUMNS - width), "");
	put_bytes(t, row, "virtual_bytes", to);
	put_bytes(t, row, "resident_bytes", to);
	put_bytes(t, row, "in_use_bytes", to);
	fputs("  ", to);
	escape_text(to, text(t, row, "detail"), DETAIL_COLUMNS);
	fputc('\n', to);
}

static void put_rung(const struct report *r, const char *key, const char *title, FILE *to)
{
	const struct report_figure *f = report_get(r, key);
	char buf[UNITS_BYTES];

	if (f && f->kind == REPORT_INT)
		fprintf(to, "%s %s   ", title, units_bytes(f->integer, buf, sizeof(buf)));
}

static void put_findings(const struct report_table *t, FILE *to)
{
	for (size_t row = 0; row < t->n_rows; row++) {
		fputs("! ", to);
		escape_text(to, text(t, row, "text"), 0);
		fputs(*text(t, row, "remedy") ? ": " : "", to);
		escape_text(to, text(t, row, "remedy"), 0);
		fputc('\n', to);
	}
}

void ladder_text_write(const struct profile *p, FILE *to)
{
	const struct report *r = profile_report_const(p);
	const struct report_table *parts = find(r, "parts"), *findings = find(r, "findings"),
				  *next = find(r, "next");
	const struct report_figure *target = report_get(r, "target");

	if (target && target->kind == REPORT_TEXT) {
		escape_text(to, target->text, 0);
		fputs("\n", to);
	}
	put_rung(r, "virtual_bytes", "VIRTUAL", to);
	put_rung(r, "resident_bytes", "RESIDENT", to);
	put_rung(r, "unnamed_bytes", "UNNAMED", to);
	fprintf(to, "\n  %-13s %-*s %11s %11s %11s\n", "KIND", NAME_COLUMNS, "NAME", "VIRTUAL",
	        "RESIDENT", "IN USE");
	for (size_t i = 0; parts && i < parts->n_rows; i++)
		put_part(parts, i, to);
	if (findings)
		put_findings(findings, to);
	for (size_t i = 0; next && i < next->n_rows; i++) {
		fputs(i ? "   " : "next: ", to);
		escape_text(to, text(next, i, "command"), 0);
	}
	if (next)
		fputc('\n', to);
}
