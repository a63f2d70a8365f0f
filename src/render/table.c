/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/ladder_diff.h"
#include "render/cell.h"
#include "render/contexts_text.h"
#include "render/escape.h"
#include "render/figures.h"
#include "render/formats.h"
#include "render/interval_text.h"
#include "render/ladder_diff_text.h"
#include "render/ladder_text.h"
#include "render/report_text.h"
#include "render/units.h"
#include "render/view.h"

enum {
	COLUMNS_DEFAULT = 100,
	COLUMNS_LEAST = 30,
	ROOM_LEAST = 40, /* for stacks; with less they stand under their figures */
	ROWS_DEFAULT = 20,
	COLUMN_BYTES = 11, /* "+1023.9 MiB" */
	COLUMN_SHARE = 8,
	COLUMN_COUNT = 10,
	COLUMN_AGE = 10,
	NARROW_INDENT = 4,
};

struct table {
	const struct view *v;
	FILE *to;
	size_t columns, rows;
	bool colour, is_narrow, is_diff;
};

static const char *paint(const struct table *t, const char *code)
{
	return t->colour ? code : "";
}

static size_t figures_columns(const struct table *t)
{
	const struct view *v = t->v;
	size_t n = COLUMN_BYTES + (t->is_diff ? 2 * (COLUMN_BYTES + 1) : COLUMN_SHARE);

	if (!t->is_diff)
		n += (v->count >= 0 ? COLUMN_COUNT : 0) + (v->age >= 0 ? COLUMN_AGE : 0) +
		     (v->growth >= 0 ? COLUMN_BYTES + 1 : 0);
	return n + 2;
}

/* As the others: "STACK (who allocated ...". */
static void put_stack_header(FILE *to, const char *text)
{
	const size_t n = strcspn(text, " ");

	fputs("  ", to);
	for (size_t i = 0; i < n; i++)
		fputc(toupper((unsigned char)text[i]), to);
	fputs(text + n, to);
}

static void put_header(const struct table *t)
{
	const struct view *v = t->v;

	fputs(paint(t, "\033[2m"), t->to);
	if (t->is_diff) {
		fprintf(t->to, "%*s %*s %*s ", COLUMN_BYTES, "BEFORE", COLUMN_BYTES, "AFTER",
		        COLUMN_BYTES, "DELTA");
	} else {
		bool is_held = !strncmp(profile_type_at(v->p, v->type)->name, "inuse_", 6);

		fprintf(t->to, "%*s%*s", COLUMN_BYTES, is_held ? "HELD" : "VALUE", COLUMN_SHARE,
		        "SHARE");
		if (v->count >= 0)
			fprintf(t->to, "%*s", COLUMN_COUNT, "COUNT");
		if (v->age >= 0)
			fprintf(t->to, "%*s", COLUMN_AGE, "AVG AGE");
		if (v->growth >= 0)
			fprintf(t->to, " %*s", COLUMN_BYTES, "GROWTH");
	}
	if (!t->is_narrow)
		put_stack_header(t->to, figures_stack(v));
	fprintf(t->to, "%s\n", paint(t, "\033[0m"));
}

static void put_signed(const struct table *t, int64_t value)
{
	char buf[UNITS_BYTES];

	fprintf(t->to, " %s%*s%s",
	        paint(t, value > 0   ? "\033[31m"
	                 : value < 0 ? "\033[34m"
	                             : ""),
	        COLUMN_BYTES, units_value(value, t->v->is_bytes, true, buf, sizeof(buf)),
	        paint(t, "\033[0m"));
}

static void put_diff(const struct table *t, size_t row)
{
	const struct view *v = t->v;
	char buf[UNITS_BYTES];

	fprintf(t->to, "%*s", COLUMN_BYTES,
	        units_value(view_value(v, row, v->before), v->is_bytes, false, buf, sizeof(buf)));
	fprintf(t->to, " %*s", COLUMN_BYTES,
	        units_value(view_value(v, row, v->after), v->is_bytes, false, buf, sizeof(buf)));
	put_signed(t, view_value(v, row, v->delta));
}

static void put_age(const struct table *t, size_t row)
{
	int64_t n = view_value(t->v, row, t->v->count);
	char buf[UNITS_BYTES];

	if (n > 0)
		units_seconds((double)view_value(t->v, row, t->v->age) / 1e9 / (double)n, buf,
		              sizeof(buf));
	else
		snprintf(buf, sizeof(buf), "-");
	fprintf(t->to, "%*s", COLUMN_AGE, buf);
}

static void put_figures(const struct table *t, size_t row)
{
	const struct view *v = t->v;
	int64_t value = v->rows[row].value;
	char buf[UNITS_BYTES];

	fprintf(t->to, "%s%*s%s", paint(t, "\033[1m"), COLUMN_BYTES,
	        units_value(value, v->is_bytes, false, buf, sizeof(buf)), paint(t, "\033[0m"));
	fprintf(t->to, "%*s", COLUMN_SHARE,
	        units_percent((double)value, (double)v->total, buf, sizeof(buf)));
	if (v->count >= 0)
		fprintf(t->to, "%*s", COLUMN_COUNT,
		        units_count(view_value(v, row, v->count), buf, sizeof(buf)));
	if (v->age >= 0)
		put_age(t, row);
	if (v->growth >= 0)
		put_signed(t, view_value(v, row, v->growth));
}

/* How sure an estimate is, as one more label. */
static void put_interval(const struct table *t, size_t row, size_t indent, size_t room, size_t at)
{
	const struct interval_sum sum = interval_text_row(t->v, row);
	char text[INTERVAL_TEXT_BYTES];
	size_t need = escape_width(interval_text(&sum, t->v->is_bytes, text, sizeof(text)));

	if (!need)
		return;
	if (at == 0 || at + 2 + need > room)
		fprintf(t->to, "\n%*s", (int)indent, "");
	else
		fputs("  ", t->to);
	fputs(paint(t, interval_text_is_one_sample(&sum) ? "\033[33m" : "\033[2m"), t->to);
	escape_text(t->to, text, room);
	fputs(paint(t, "\033[0m"), t->to);
}

static void put_labels(const struct table *t, const struct profile_sample *s, size_t row,
                       size_t indent)
{
	size_t room = t->columns > indent + 10 ? t->columns - indent : 10, at = 0;

	for (size_t i = 0; i < s->n_labels; i++) {
		const char *key = profile_text(t->v->p, s->labels[i].key);
		char buf[UNITS_BYTES];
		const char *text = profile_label_text(t->v->p, s, key, buf, sizeof(buf));
		size_t need = escape_width(key) + 1 + escape_width(text ? text : "");

		if (at == 0 || at + 2 + need > room) {
			fprintf(t->to, "\n%*s", (int)indent, "");
			at = 0;
		}
		fprintf(t->to, "%s%s", at ? "  " : "", paint(t, "\033[36m"));
		at += at ? 2 : 0;
		at += need = escape_text(t->to, key, room / 3) + 1;
		fputc('=', t->to);
		at += escape_text(t->to, text ? text : "", room - need);
		fputs(paint(t, "\033[0m"), t->to);
	}
	put_interval(t, row, indent, room, at);
}

static int put_row(const struct table *t, size_t row, struct error *err)
{
	struct profile_sample s = profile_sample_at(t->v->p, t->v->rows[row].sample);
	size_t indent = t->is_narrow ? NARROW_INDENT : figures_columns(t);
	size_t room = t->columns > indent + 10 ? t->columns - indent : 10;
	cleanup(cell_clear) struct cell c = { 0 };
	int r = cell_make(t->v->p, &s, room - 2, &c, err);

	if (r < 0)
		return r;
	if (t->is_diff)
		put_diff(t, row);
	else
		put_figures(t, row);
	if (t->is_narrow)
		fprintf(t->to, "\n%*s", (int)indent, "");
	else
		fputs("  ", t->to);
	cell_print(&c, t->to, room, indent, t->colour);
	put_labels(t, &s, row, indent);
	fputc('\n', t->to);
	return 0;
}

static void put_rest(const struct table *t, size_t shown)
{
	int64_t rest = 0;
	char a[UNITS_BYTES], b[UNITS_BYTES], c[UNITS_BYTES];

	for (size_t i = shown; i < t->v->n_rows; i++)
		rest = view_add(rest, t->v->rows[i].value);
	fprintf(t->to, "%s%*s", paint(t, "\033[2m"), COLUMN_BYTES,
	        units_value(rest, t->v->is_bytes, t->is_diff, a, sizeof(a)));
	if (!t->is_diff)
		fprintf(t->to, "%*s", COLUMN_SHARE,
		        units_percent((double)rest, (double)t->v->total, b, sizeof(b)));
	fprintf(t->to, "  in %s more stack%s%s\n",
	        units_count((int64_t)(t->v->n_rows - shown), c, sizeof(c)),
	        t->v->n_rows - shown == 1 ? "" : "s", paint(t, "\033[0m"));
}

static int put_stacks(const struct table *t, struct error *err)
{
	size_t shown = t->v->n_rows < t->rows ? t->v->n_rows : t->rows;

	if (!t->v->n_rows) {
		fputs("nothing to show: no stack has a value\n", t->to);
		return 0;
	}
	put_header(t);
	for (size_t i = 0; i < shown; i++) {
		int r = put_row(t, i, err);

		if (r < 0)
			return r;
	}
	if (shown < t->v->n_rows)
		put_rest(t, shown);
	return 0;
}

static void put_title(const struct table *t, const struct render_options *o)
{
	char buf[FIGURES_BYTES];
	bool warn;

	fputs(paint(t, "\033[1m"), t->to);
	escape_text(t->to, figures_title(t->v, o, buf, sizeof(buf)), 200);
	fprintf(t->to, "%s  ", paint(t, "\033[0m"));
	escape_text(t->to, figures_amount(t->v, buf, sizeof(buf)), 0);
	fputc('\n', t->to);
	figures_trust(t->v, buf, sizeof(buf), &warn);
	if (*buf) {
		fputs(paint(t, warn ? "\033[33m" : "\033[2m"), t->to);
		report_text_wrap(t->to, buf, t->columns);
		fprintf(t->to, "%s\n", paint(t, "\033[0m"));
	}
}

int table_write(const struct profile *p, const struct render_options *o, FILE *to,
                struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	struct table t = { .v = &v, .to = to };
	int r;

	if (ladder_diff_is(p)) {
		r = ladder_diff_text_write(p, o, to, err);
		return r < 0 ? r : render_check(to, err);
	}
	if (contexts_text_is(p)) {
		r = contexts_text_write(p, o, to, err);
		return r < 0 ? r : render_check(to, err);
	}
	if (ladder_rows_is(p)) {
		r = ladder_text_write(p, o, to, err);
		return r < 0 ? r : render_check(to, err);
	}
	r = view_make(p, o, VIEW_MAGNITUDE | VIEW_BY_NAME, &v, err);
	if (r < 0)
		return r;
	t.columns = o && o->columns > 0 ? (size_t)o->columns : COLUMNS_DEFAULT;
	if (t.columns < COLUMNS_LEAST)
		t.columns = COLUMNS_LEAST;
	t.rows = o && o->rows > 0 ? (size_t)o->rows : ROWS_DEFAULT;
	t.colour = o && o->colour;
	t.is_diff = v.is_diff && (int)v.type == v.delta;
	t.is_narrow = t.columns < figures_columns(&t) + ROOM_LEAST;
	put_title(&t, o);
	report_text_figures(to, profile_report_const(v.p), t.columns);
	fputc('\n', to);
	r = put_stacks(&t, err);
	if (r < 0)
		return r;
	report_text_tables(to, profile_report_const(v.p), t.columns, t.colour);
	return render_check(to, err);
}
