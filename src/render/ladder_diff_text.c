/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_diff_text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/ladder_diff.h"
#include "render/escape.h"
#include "render/ladder_words.h"
#include "render/units.h"
#include "render/view.h"

enum {
	COLUMNS_DEFAULT = 100,
	COLUMNS_LEAST = 40,
	ROWS_DEFAULT = 20,
	NUMBER = 9,
	KEY = 24,
	OWNER_LEAST = 30,
	LINE_BYTES = 1024,
};

struct side_by_side {
	struct ladder_words w;
	const struct report *r;
	const struct profile *p;
	size_t rows;
	bool is_narrow; /* changes only, without before and after */
};

static const char *bytes(const struct side_by_side *d, int64_t v, bool sign, char *buf)
{
	return ladder_words_bytes(&d->w, v, sign, buf, UNITS_BYTES);
}

static const char *figure_text(const struct side_by_side *d, const char *key)
{
	const struct report_figure *f = report_get(d->r, key);

	return f && f->kind == REPORT_TEXT && f->text ? f->text : "";
}

static void put_rung(const struct side_by_side *d, const char *title, const char *key)
{
	char name[64], a[UNITS_BYTES], b[UNITS_BYTES], c[UNITS_BYTES];
	int64_t before, after;

	snprintf(name, sizeof(name), "before_%s", key);
	before = ladder_rows_total(d->p, name, 0);
	snprintf(name, sizeof(name), "after_%s", key);
	after = ladder_rows_total(d->p, name, 0);
	fprintf(d->w.to, "%s %s \xe2\x86\x92 %s %s (%s)", title, bytes(d, before, false, a),
	        bytes(d, after, false, b), ladder_words_unit(&d->w),
	        after == before ? "the same" : bytes(d, view_subtract(after, before), true, c));
}

static void put_head(const struct side_by_side *d, const struct render_options *o)
{
	fputs(ladder_words_paint(&d->w, "\033[1m"), d->w.to);
	if (o && o->title && *o->title) {
		escape_text(d->w.to, o->title, 200);
	} else {
		escape_text(d->w.to, figure_text(d, "before_target"), 80);
		fputs(" \xe2\x86\x92 ", d->w.to);
		escape_text(d->w.to, figure_text(d, "after_target"), 80);
	}
	fprintf(d->w.to, "%s\n", ladder_words_paint(&d->w, "\033[0m"));
	put_rung(d, "VIRTUAL", "virtual_bytes");
	fputs("   ", d->w.to);
	put_rung(d, "RESIDENT", "resident_bytes");
	fputc('\n', d->w.to);
}

/* ---- rows */

static void put_three(const struct side_by_side *d, const struct report_table *t, size_t row,
                      const char *what)
{
	char key[64], buf[UNITS_BYTES];
	int64_t before, after, change;

	snprintf(key, sizeof(key), "%s_before_bytes", what);
	before = ladder_rows_int(t, row, key, 0);
	snprintf(key, sizeof(key), "%s_after_bytes", what);
	after = ladder_rows_int(t, row, key, 0);
	change = view_subtract(after, before);
	if (!d->is_narrow) {
		fprintf(d->w.to, "%*s", NUMBER, bytes(d, before, false, buf));
		fprintf(d->w.to, "%*s", NUMBER, bytes(d, after, false, buf));
	}
	fprintf(d->w.to, "%s%*s%s",
	        ladder_words_paint(&d->w, change > 0   ? "\033[31m"
	                                  : change < 0 ? "\033[34m"
	                                               : ""),
	        NUMBER, change ? bytes(d, change, true, buf) : "",
	        ladder_words_paint(&d->w, "\033[0m"));
}

static void put_owner(const struct side_by_side *d, const struct report_table *t, size_t row)
{
	int64_t before = ladder_rows_int(t, row, "before_rows", 0);
	int64_t after = ladder_rows_int(t, row, "after_rows", 0);
	size_t at = NUMBER * (d->is_narrow ? 2 : 6) + 2;
	char line[LINE_BYTES], how[64] = "";
	const char *detail = ladder_rows_text(t, row, "detail");

	if (!before)
		snprintf(how, sizeof(how), ": in the second only");
	else if (!after)
		snprintf(how, sizeof(how), ": in the first only");
	else if (before != after)
		snprintf(how, sizeof(how), ": %" PRId64 " and %" PRId64 " of them", before, after);
	snprintf(line, sizeof(line), "%s %.300s%s%s%.199s",
	         ladder_words_kind(ladder_rows_text(t, row, "kind"), false),
	         ladder_rows_text(t, row, "name"), how, *detail ? ", " : "", detail);
	fputs("  ", d->w.to);
	ladder_words_wrap(&d->w, line, at, at);
}

static void put_rest(const struct side_by_side *d, const struct report_table *t)
{
	int64_t rest = 0;
	char buf[UNITS_BYTES];

	for (size_t i = d->rows; i < t->n_rows; i++)
		rest = view_add(rest,
		                view_subtract(ladder_rows_int(t, i, "virtual_after_bytes", 0),
		                              ladder_rows_int(t, i, "virtual_before_bytes", 0)));
	fprintf(d->w.to, "  %zu more rows: %s reserved\n", t->n_rows - d->rows,
	        bytes(d, rest, true, buf));
}

static void put_differences(const struct side_by_side *d)
{
	const struct report_table *t = ladder_rows_table(d->r, "differences");

	fputc('\n', d->w.to);
	if (!t || !t->n_rows) {
		fputs("No row differs.\n", d->w.to);
		return;
	}
	fputs(ladder_words_paint(&d->w, "\033[2m"), d->w.to);
	if (d->is_narrow)
		fprintf(d->w.to, "%*s%*s\n", NUMBER, "reserved", NUMBER, "touched");
	else
		fprintf(d->w.to, "%*s%*s\n%*s%*s%*s%*s%*s%*s\n", 3 * NUMBER, "reserved", 3 * NUMBER,
		        "touched", NUMBER, "first", NUMBER, "second", NUMBER, "change", NUMBER,
		        "first", NUMBER, "second", NUMBER, "change");
	fputs(ladder_words_paint(&d->w, "\033[0m"), d->w.to);
	for (size_t i = 0; i < t->n_rows && i < d->rows; i++) {
		put_three(d, t, i, "virtual");
		put_three(d, t, i, "resident");
		put_owner(d, t, i);
	}
	if (t->n_rows > d->rows)
		put_rest(d, t);
}

/* ---- settings */

static const char *or_unset(const char *value)
{
	return *value ? value : "(not set)";
}

static void put_settings(const struct side_by_side *d)
{
	const struct report_table *t = ladder_rows_table(d->r, "settings");
	char line[2 * LINE_BYTES];

	if (!t || !t->n_rows)
		return;
	fprintf(d->w.to, "\n%ssettings that differ%s\n", ladder_words_paint(&d->w, "\033[1m"),
	        ladder_words_paint(&d->w, "\033[0m"));
	for (size_t i = 0; i < t->n_rows; i++) {
		size_t width;

		fputs("  ", d->w.to);
		width = escape_text(d->w.to, ladder_rows_text(t, i, "key"), KEY);
		fprintf(d->w.to, "%*s", (int)(KEY - width + 2), "");
		snprintf(line, sizeof(line), "%.900s \xe2\x86\x92 %.900s",
		         or_unset(ladder_rows_text(t, i, "before")),
		         or_unset(ladder_rows_text(t, i, "after")));
		ladder_words_wrap(&d->w, line, KEY + 4, KEY + 4);
	}
}

static void put_explanations(const struct side_by_side *d)
{
	const struct report_table *t = ladder_rows_table(d->r, "explanations");

	if (t && t->n_rows)
		fputc('\n', d->w.to);
	for (size_t i = 0; t && i < t->n_rows; i++) {
		fprintf(d->w.to, "%s! ", ladder_words_paint(&d->w, "\033[33m"));
		ladder_words_wrap(&d->w, ladder_rows_text(t, i, "text"), 2, 2);
		fputs(ladder_words_paint(&d->w, "\033[0m"), d->w.to);
	}
}

int ladder_diff_text_write(const struct profile *p, const struct render_options *o, FILE *to,
                           struct error *err)
{
	struct side_by_side d = { .r = profile_report_const(p), .p = p };
	size_t columns = o && o->columns > 0 ? (size_t)o->columns : COLUMNS_DEFAULT;
	int64_t before = ladder_rows_total(p, "before_virtual_bytes", 0);
	int64_t after = ladder_rows_total(p, "after_virtual_bytes", 0);

	if (!ladder_diff_is(p))
		return error_set(err, EINVAL, "not a difference of ladders");
	d.w = ladder_words_on(to, columns < COLUMNS_LEAST ? COLUMNS_LEAST : columns, o && o->colour,
	                      before > after ? before : after);
	d.rows = o && o->rows > 0 ? (size_t)o->rows : ROWS_DEFAULT;
	d.is_narrow = d.w.columns < 6 * NUMBER + 2 + OWNER_LEAST;
	put_head(&d, o);
	put_differences(&d);
	put_settings(&d);
	put_explanations(&d);
	return 0;
}
