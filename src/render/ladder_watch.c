/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_watch.h"

#include <string.h>

#include "base/cleanup.h"
#include "profile/ladder_diff.h"
#include "render/escape.h"
#include "render/ladder_words.h"
#include "render/units.h"
#include "render/view.h"

enum { COLUMNS_DEFAULT = 100, ROWS_DEFAULT = 20, LABEL = 36, LABEL_LEAST = 20, NUMBER = 9 };

struct watched {
	struct ladder_words w;
	double seconds;
	bool total;
	size_t label;
};

/* A change as it is printed: per second, or what came in all. */
static int64_t rate(const struct watched *t, int64_t change)
{
	double v = t->total || t->seconds <= 0 ? (double)change : (double)change / t->seconds;

	return v > 9e18 ? INT64_MAX : v < -9e18 ? -INT64_MAX : (int64_t)v;
}

static const char *change_text(const struct watched *t, int64_t change, char *buf, size_t size)
{
	return ladder_words_bytes(&t->w, rate(t, change), true, buf, size);
}

static void put_rung(const struct watched *t, const char *title, int64_t before, int64_t after)
{
	char a[UNITS_BYTES], b[UNITS_BYTES];
	bool first = !strcmp(title, "VIRTUAL");

	fprintf(t->w.to, "%s%s %s%s%s", first ? "" : " \xe2\x96\xb8 ", title,
	        ladder_words_bytes(&t->w, after, false, a, sizeof(a)), first ? " " : "",
	        first ? ladder_words_unit(&t->w) : "");
	if (after != before)
		fprintf(t->w.to, " (%s%s)",
		        change_text(t, view_subtract(after, before), b, sizeof(b)),
		        t->total ? "" : "/s");
}

static void put_head(const struct watched *t, const struct profile *before,
                     const struct profile *after, const struct ladder_rows rows[2])
{
	int64_t heaps[2], application[2];
	char buf[UNITS_BYTES];
	bool at_least;

	for (int i = 0; i < 2; i++)
		ladder_rows_heaps(&rows[i], &heaps[i], &application[i], &at_least);
	if (t->total)
		fprintf(t->w.to, "in %s: ", units_seconds(t->seconds, buf, sizeof(buf)));
	put_rung(t, "VIRTUAL", ladder_rows_total(before, "virtual_bytes", 0),
	         ladder_rows_total(after, "virtual_bytes", 0));
	put_rung(t, "RESIDENT", ladder_rows_total(before, "resident_bytes", 0),
	         ladder_rows_total(after, "resident_bytes", 0));
	put_rung(t, "ALLOCATOR", heaps[0], heaps[1]);
	put_rung(t, "APPLICATION", application[0], application[1]);
	fputc('\n', t->w.to);
}

static void put_pair(const struct watched *t, int64_t now, int64_t change)
{
	char buf[UNITS_BYTES];
	const char *colour = change > 0 ? "\033[31m" : change < 0 ? "\033[34m" : "";

	fprintf(t->w.to, " %*s", NUMBER - 1,
	        now < 0 ? "" : ladder_words_bytes(&t->w, now, false, buf, sizeof(buf)));
	fprintf(t->w.to, " %s%*s%s", ladder_words_paint(&t->w, colour), NUMBER - 1,
	        change ? change_text(t, change, buf, sizeof(buf)) : "",
	        *colour ? ladder_words_paint(&t->w, "\033[0m") : "");
}

static int64_t in_use_change(const struct ladder_change *c)
{
	int64_t before = c->before.n ? c->before.in_use_bytes : 0;
	int64_t after = c->after.n ? c->after.in_use_bytes : 0;

	return before < 0 || after < 0 ? 0 : after - before;
}

static bool is_changed(const struct ladder_change *c)
{
	return ladder_diff_virtual(c) || ladder_diff_resident(c) || in_use_change(c);
}

static void put_change(const struct watched *t, const struct ladder_change *c)
{
	size_t used;

	fputs("  ", t->w.to);
	used = 2 + escape_text(t->w.to, ladder_words_kind(c->kind, false), t->label - 3);
	if (used + 4 < t->label) {
		fputc(' ', t->w.to);
		used += 1 + escape_text(t->w.to, c->name, t->label - used - 2);
	}
	fprintf(t->w.to, "%*s", (int)(t->label - used), "");
	put_pair(t, c->after.virtual_bytes, ladder_diff_virtual(c));
	put_pair(t, c->after.resident_bytes, ladder_diff_resident(c));
	put_pair(t, c->after.n ? c->after.in_use_bytes : 0, in_use_change(c));
	if (!c->after.n)
		fputs("  gone", t->w.to);
	else if (!c->before.n)
		fputs("  new", t->w.to);
	fputc('\n', t->w.to);
}

static void put_changes(const struct watched *t, const struct ladder_changes *c, size_t rows)
{
	const char *unit = t->total ? "change" : "/s";
	size_t n = 0, more = 0;

	for (size_t i = 0; i < c->n; i++) {
		if (!is_changed(&c->items[i]))
			continue;
		if (!n)
			fprintf(t->w.to, "%s%*s%*s%*s%*s%*s%*s%*s%s\n",
			        ladder_words_paint(&t->w, "\033[2m"), (int)t->label, "", NUMBER,
			        "reserved", NUMBER, unit, NUMBER, "touched", NUMBER, unit, NUMBER,
			        "in use", NUMBER, unit, ladder_words_paint(&t->w, "\033[0m"));
		if (n++ < rows)
			put_change(t, &c->items[i]);
		else
			more++;
	}
	if (more)
		fprintf(t->w.to, "  %zu more rows\n", more);
	if (!n)
		fputs("  nothing changed\n", t->w.to);
}

int ladder_watch_write(const struct profile *before, const struct profile *after, double seconds,
                       bool total, const struct render_options *o, FILE *to, struct error *err)
{
	cleanup(ladder_rows_clear) struct ladder_rows b = { 0 }, a = { 0 };
	cleanup(ladder_diff_clear) struct ladder_changes changes = { 0 };
	struct watched t = { .seconds = seconds, .total = total };
	size_t columns = o && o->columns > 0 ? (size_t)o->columns : COLUMNS_DEFAULT;
	int r = ladder_rows_make(before, &b, err);

	if (r == 0)
		r = ladder_rows_make(after, &a, err);
	if (r == 0)
		r = ladder_diff_rows(&b, &a, &changes, err);
	if (r < 0)
		return r;
	t.w = ladder_words_on(to, columns, o && o->colour,
	                      ladder_rows_total(after, "virtual_bytes", 0));
	t.label = columns > LABEL + 6 * NUMBER + 6 ? LABEL : LABEL_LEAST;
	put_head(&t, before, after, (const struct ladder_rows[2]){ b, a });
	put_changes(&t, &changes, o && o->rows > 0 ? (size_t)o->rows : ROWS_DEFAULT);
	return 0;
}
