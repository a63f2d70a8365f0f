/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/escape.h"
#include "render/ladder_group.h"
#include "render/ladder_words.h"
#include "render/units.h"
#include "render/view.h"

enum {
	COLUMNS_DEFAULT = 100,
	COLUMNS_LEAST = 40,
	LABEL = 21,
	NUMBER = 9,
	NARROW_ROOM = 36, /* less than this beside the numbers: words go below them */
	NAMES = 3,        /* of a kind with many */
	FIGURES = 5,
	LINE_BYTES = 2048,
};

static const char bold[] = "\033[1m", dim[] = "\033[2m", yellow[] = "\033[33m", off[] = "\033[0m";

struct text {
	struct ladder_words w;
	const struct ladder_groups *g;
	const struct profile *p;
	size_t rows; /* of each kind, below it */
	bool pss, swap;
	size_t room_at; /* column where words begin */
};

/* A line that is put together before it is broken; what is too long is cut. */
struct line {
	char s[LINE_BYTES];
	size_t n;
};

static void __attribute__((format(printf, 3, 4)))
add(struct line *l, const char *separator, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->n)
		l->n += (size_t)snprintf(l->s + l->n, sizeof(l->s) - l->n, "%s", separator);
	if (l->n >= sizeof(l->s))
		l->n = sizeof(l->s) - 1;
	va_start(ap, fmt);
	n = vsnprintf(l->s + l->n, sizeof(l->s) - l->n, fmt, ap);
	va_end(ap);
	l->n += n > 0 ? (size_t)n : 0;
	if (l->n >= sizeof(l->s))
		l->n = sizeof(l->s) - 1;
}

static const char dot[] = " \xc2\xb7 ";

static const char *bytes(const struct text *t, int64_t v, char *buf)
{
	return ladder_words_bytes(&t->w, v, false, buf, UNITS_BYTES);
}

/* ---- head */

static void put_target(const struct text *t, const struct render_options *o)
{
	const struct report *r = profile_report_const(t->p);
	const struct report_figure *target = report_get(r, "target");
	int64_t pid = ladder_rows_total(t->p, "pid", 0),
		inner = ladder_rows_total(t->p, "ns_pid", 0);
	const char *title = o && o->title && *o->title ? o->title : target ? target->text : NULL;

	if (!title)
		return;
	fputs(ladder_words_paint(&t->w, bold), t->w.to);
	escape_text(t->w.to, title, 200);
	fputs(ladder_words_paint(&t->w, off), t->w.to);
	if (inner > 0 && inner != pid)
		fprintf(t->w.to, ", %" PRId64 " to itself", inner);
	fputc('\n', t->w.to);
}

static void put_rung(const struct text *t, const char *title, const char *sign, int64_t v,
                     bool unit)
{
	char buf[UNITS_BYTES];

	fprintf(t->w.to, "%s %s%s%s%s%s%s", title, ladder_words_paint(&t->w, bold), sign,
	        bytes(t, v, buf), ladder_words_paint(&t->w, off), unit ? " " : "",
	        unit ? ladder_words_unit(&t->w) : "");
}

static void put_head(const struct text *t)
{
	static const char arrow[] = " \xe2\x96\xb8 ";
	int64_t resident, application;
	bool at_least;

	ladder_rows_heaps(&t->g->rows, &resident, &application, &at_least);
	put_rung(t, "VIRTUAL", "", ladder_rows_total(t->p, "virtual_bytes", 0), true);
	fputs(arrow, t->w.to);
	put_rung(t, "RESIDENT", "", ladder_rows_total(t->p, "resident_bytes", 0), false);
	fputs(arrow, t->w.to);
	put_rung(t, "ALLOCATOR", "", resident, false);
	fputs(arrow, t->w.to);
	put_rung(t, "APPLICATION", at_least ? "\xe2\x89\xa5 " : "", application, false);
	fputc('\n', t->w.to);
}

static void put_columns(const struct text *t)
{
	fprintf(t->w.to, "%s%*s%*s%*s", ladder_words_paint(&t->w, dim), LABEL, "", NUMBER,
	        "reserved", NUMBER, "touched");
	if (t->pss)
		fprintf(t->w.to, "%*s", NUMBER, "PSS");
	if (t->swap)
		fprintf(t->w.to, "%*s", NUMBER, "swap");
	fprintf(t->w.to, "%s\n", ladder_words_paint(&t->w, off));
}

/* ---- rows */

static void put_numbers(const struct text *t, const struct ladder_sums *s)
{
	char buf[UNITS_BYTES];

	fprintf(t->w.to, "%*s", NUMBER, bytes(t, s->virtual_bytes, buf));
	fprintf(t->w.to, "%*s", NUMBER, bytes(t, s->resident_bytes, buf));
	if (t->pss)
		fprintf(t->w.to, "%*s", NUMBER, bytes(t, s->pss_bytes, buf));
	if (t->swap)
		fprintf(t->w.to, "%*s", NUMBER, bytes(t, s->swap_bytes, buf));
}

static void put_label(const struct text *t, size_t indent, const char *label, size_t n)
{
	char times[24] = "";
	size_t room, width;

	if (n > 1)
		snprintf(times, sizeof(times), " \xc3\x97%zu", n);
	room = LABEL - indent - escape_width(times);
	fprintf(t->w.to, "%*s", (int)indent, "");
	width = escape_text(t->w.to, label, room);
	fprintf(t->w.to, "%s%*s", times, (int)(room - width), "");
}

/* Words of a row: beside its numbers, or below them on a narrow terminal. */
static void put_words(const struct text *t, const struct line *l, size_t indent, size_t at)
{
	if (!l->n) {
		fputc('\n', t->w.to);
	} else if (t->w.columns < at + NARROW_ROOM) {
		fprintf(t->w.to, "\n%*s", (int)indent + 4, "");
		ladder_words_wrap(&t->w, l->s, indent + 4, indent + 4);
	} else {
		fputs("  ", t->w.to);
		ladder_words_wrap(&t->w, l->s, at, at);
	}
}

static const struct {
	const char *key, *text;
} figures[] = {
	{ "dirty_bytes", "dirty" },
	{ "muzzy_bytes", "muzzy" },
	{ "retained_bytes", "retained" },
	{ "free_bytes", "free" },
	{ "trim_bytes", "malloc_trim would return" },
	{ "slab_free_bytes", "free in slabs" },
	{ "pageheap_free_bytes", "free pages" },
	{ "pageheap_unmapped_bytes", "given back" },
	{ "unused_bytes", "free in spans" },
	{ "stack_bytes", "goroutine stacks" },
	{ "idle_bytes", "idle" },
	{ "released_bytes", "released" },
	{ "shared_buffers_bytes", "shared buffers" },
	{ "metadata_bytes", "metadata" },
};

static void add_in_use(const struct text *t, struct line *l, const struct ladder_sums *s)
{
	char buf[UNITS_BYTES];

	if (s->in_use_bytes >= 0)
		add(l, dot, "in use %s", bytes(t, s->in_use_bytes, buf));
	if (s->cached_bytes > 0)
		add(l, dot, "in thread caches %s", bytes(t, s->cached_bytes, buf));
}

static void add_doubts(struct line *l, const struct ladder_sums *s, const char *unknown_why)
{
	if (*unknown_why)
		add(l, dot, "%s", unknown_why);
	if (s->inconsistent)
		add(l, dot, "%" PRId64 " of %" PRId64 " structures contradict each other",
		    s->inconsistent, s->checked);
}

static void add_group_figures(const struct text *t, struct line *l, const struct ladder_group *g)
{
	char buf[UNITS_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(figures) && n < FIGURES; i++) {
		int64_t v = ladder_group_figure(t->g, g, figures[i].key);

		if (v > 0) {
			add(l, dot, "%s %s", figures[i].text, bytes(t, v, buf));
			n++;
		}
	}
}

static bool has_own_name(const struct ladder_group *g)
{
	return g->n_entries == 1 && g->entries[0].sums.n == 1 &&
	       !strncmp(g->entries[0].row->name, g->kind, strlen(g->kind));
}

/* These say nothing that the kind has not said. */
static bool is_plain(const char *kind)
{
	return !strcmp(kind, "main-stack") || !strcmp(kind, "vdso") || !strcmp(kind, "guard");
}

static void add_name(const struct text *t, struct line *l, const struct ladder_entry *e,
                     bool detail)
{
	char buf[UNITS_BYTES], size[UNITS_BYTES + 1] = "", times[24] = "";

	if (e->sums.n > 1)
		snprintf(times, sizeof(times), " \xc3\x97%zu", e->sums.n);
	if (e->sums.resident_bytes)
		snprintf(size, sizeof(size), " %s", bytes(t, e->sums.resident_bytes, buf));
	add(l, ", ", "%.200s%s%s", e->row->name, times, size);
	if (detail && e->sums.n == 1 && e->row->detail[0])
		add(l, "", " (%.199s)", e->row->detail);
}

static void add_names(const struct text *t, struct line *to, const struct ladder_group *g)
{
	size_t shown = g->n_entries <= NAMES + 1 ? g->n_entries : NAMES;
	struct line l = { .n = 0 };
	int64_t rest = 0;
	char buf[UNITS_BYTES];

	if (has_own_name(g)) {
		if (g->entries[0].row->detail[0])
			add(to, dot, "%.199s", g->entries[0].row->detail);
		return;
	}
	if (is_plain(g->kind))
		return;
	for (size_t i = 0; i < g->n_entries; i++) {
		if (i < shown)
			add_name(t, &l, &g->entries[i], g->sums.n <= NAMES);
		else
			rest = view_add(rest, g->entries[i].sums.resident_bytes);
	}
	if (shown < g->n_entries)
		add(&l, ", ", "+%zu: %s", g->n_entries - shown, bytes(t, rest, buf));
	if (l.n)
		add(to, dot, "%s", l.s);
}

static void put_group(const struct text *t, const struct ladder_group *g)
{
	struct line l = { .n = 0 };
	const char *label = has_own_name(g) ? g->entries[0].row->name
	                                    : ladder_words_kind(g->kind, g->sums.n > 1);
	bool warn = !strcmp(g->kind, "unnamed") && g->sums.virtual_bytes;

	fputs(warn ? ladder_words_paint(&t->w, yellow) : "", t->w.to);
	put_label(t, 2, label, g->sums.n);
	put_numbers(t, &g->sums);
	fputs(warn ? ladder_words_paint(&t->w, off) : "", t->w.to);
	add_in_use(t, &l, &g->sums);
	if (g->is_inside)
		add(&l, dot, "inside %s", ladder_words_kind(g->entries[0].row->inside, false));
	add_group_figures(t, &l, g);
	add_doubts(&l, &g->sums, g->unknown_why);
	if (!t->rows || g->sums.n == 1)
		add_names(t, &l, g);
	put_words(t, &l, 2, t->room_at);
}

static void add_row_figures(const struct text *t, struct line *l, const struct ladder_row *row)
{
	const char *pos = row->figures;
	char key[64], buf[UNITS_BYTES];
	int64_t v;

	while (ladder_rows_figure(&pos, key, sizeof(key), &v)) {
		size_t n = strlen(key);

		if (n > 6 && !strcmp(key + n - 6, "_bytes"))
			add(l, dot, "%.*s %s", (int)n - 6, key, bytes(t, v, buf));
		else if (strcmp(key, "tid") != 0)
			add(l, dot, "%s %s", key, units_count(v, buf, sizeof(buf)));
	}
	for (char *s = l->s; *s; s++)
		*s = *s == '_' ? ' ' : *s;
}

static void put_row(const struct text *t, const struct ladder_row *row)
{
	struct ladder_sums s = ladder_group_sums(row);
	struct line l = { .n = 0 }, evidence = { .n = 0 };

	put_label(t, 4, row->name, 1);
	put_numbers(t, &s);
	add_in_use(t, &l, &s);
	add_row_figures(t, &l, row);
	add_doubts(&l, &s, row->unknown_why);
	if (row->path[0])
		add(&l, dot, "%.511s", row->path);
	if (row->detail[0])
		add(&l, dot, "%.199s", row->detail);
	put_words(t, &l, 4, t->room_at);
	if (!row->evidence[0])
		return;
	add(&evidence, "", "proof: %.199s", row->evidence);
	fprintf(t->w.to, "%*s%s", 6, "", ladder_words_paint(&t->w, dim));
	ladder_words_wrap(&t->w, evidence.s, 6, 6);
	fputs(ladder_words_paint(&t->w, off), t->w.to);
}

/* The rows of a kind in the order of the profile: largest first. */
static void put_rows_of(const struct text *t, const struct ladder_group *g)
{
	struct ladder_sums rest = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < t->g->rows.n; i++) {
		const struct ladder_row *row = &t->g->rows.items[i];

		if (strcmp(row->kind, g->kind) != 0)
			continue;
		if (n++ < t->rows) {
			put_row(t, row);
			continue;
		}
		rest.n++;
		rest.virtual_bytes = view_add(rest.virtual_bytes, row->virtual_bytes);
		rest.resident_bytes = view_add(rest.resident_bytes, row->resident_bytes);
		rest.pss_bytes = view_add(rest.pss_bytes, row->pss_bytes);
		rest.swap_bytes = view_add(rest.swap_bytes, row->swap_bytes);
	}
	if (rest.n) {
		put_label(t, 4, "more", rest.n);
		put_numbers(t, &rest);
		fputc('\n', t->w.to);
	}
}

/* ---- below the rows */

static void put_kernel(const struct text *t)
{
	static const struct {
		const char *key, *text;
	} more[] = {
		{ "page_table_bytes", "page tables" },
		{ "swap_bytes", "swap" },
		{ "locked_bytes", "locked" },
		{ "hugetlb_bytes", "hugetlb" },
		{ "zero_page_bytes", "shared zero page" },
		{ "overlap_bytes", "claimed twice" },
	};
	int64_t size = ladder_rows_total(t->p, "vm_size_bytes", -1);
	int64_t rss = ladder_rows_total(t->p, "vm_rss_bytes", -1);
	int64_t difference = ladder_rows_total(t->p, "vm_rss_difference_bytes", 0);
	char a[UNITS_BYTES], b[UNITS_BYTES];
	struct line l = { .n = 0 };

	if (size < 0 || rss < 0)
		return;
	add(&l, dot, "kernel: VmSize %s%s", bytes(t, size, a),
	    size == ladder_rows_total(t->p, "virtual_bytes", -1) ? ", the sum of the rows" : "");
	add(&l, dot, "VmRSS %s%s%s", bytes(t, rss, a), difference ? ", counted here " : "",
	    difference ? ladder_words_bytes(&t->w, difference, true, b, sizeof(b)) : "");
	for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
		int64_t v = ladder_rows_total(t->p, more[i].key, 0);

		if (v > 0)
			add(&l, dot, "%s %s", more[i].text, bytes(t, v, a));
	}
	fprintf(t->w.to, "  %s", ladder_words_paint(&t->w, dim));
	ladder_words_wrap(&t->w, l.s, 2, 2);
	fputs(ladder_words_paint(&t->w, off), t->w.to);
}

/* "cgroup /docker/3f29…  437.1 MiB of 512.0" */
static void put_cgroup_head(const struct text *t)
{
	const struct report_figure *path = report_get(profile_report_const(t->p), "cgroup_path");
	int64_t all = ladder_rows_total(t->p, "cgroup_bytes", -1);
	int64_t limit = ladder_rows_total(t->p, "cgroup_limit_bytes", -1);
	char buf[UNITS_BYTES];

	fprintf(t->w.to, "\n%scgroup%s ", ladder_words_paint(&t->w, bold),
	        ladder_words_paint(&t->w, off));
	if (path && path->kind == REPORT_TEXT && path->text)
		escape_text(t->w.to, path->text, t->w.columns > 60 ? t->w.columns - 40 : 20);
	if (all >= 0)
		fprintf(t->w.to, "  %s %s", bytes(t, all, buf), ladder_words_unit(&t->w));
	if (limit > 0)
		fprintf(t->w.to, " of %s", bytes(t, limit, buf));
	fputc('\n', t->w.to);
}

static void put_cgroup(const struct text *t)
{
	const struct report_table *c = ladder_rows_table(profile_report_const(t->p), "cgroup");
	char buf[UNITS_BYTES];

	if (!c || !c->n_rows)
		return;
	put_cgroup_head(t);
	for (size_t i = 0; i < c->n_rows; i++) {
		int64_t size = ladder_rows_int(c, i, "bytes", -1);
		int64_t back = ladder_rows_int(c, i, "reclaimable", -1);
		struct line l = { .n = 0 };

		put_label(t, 2, ladder_rows_text(c, i, "name"), 1);
		fprintf(t->w.to, "%*s", NUMBER, size < 0 ? "" : bytes(t, size, buf));
		if (back > 0)
			add(&l, dot, "reclaimable %s", bytes(t, back, buf));
		else if (*ladder_rows_text(c, i, "reclaimable"))
			add(&l, dot, "%s", ladder_rows_text(c, i, "reclaimable"));
		if (*ladder_rows_text(c, i, "evidence"))
			add(&l, dot, "%s", ladder_rows_text(c, i, "evidence"));
		put_words(t, &l, 2, LABEL + NUMBER + 2);
	}
}

static void put_findings(const struct text *t)
{
	const struct report_table *f = ladder_rows_table(profile_report_const(t->p), "findings");

	if (f && f->n_rows)
		fputc('\n', t->w.to);
	for (size_t i = 0; f && i < f->n_rows; i++) {
		const char *evidence = ladder_rows_text(f, i, "evidence");
		const char *remedy = ladder_rows_text(f, i, "remedy");
		struct line why = { .n = 0 }, what = { .n = 0 };

		fprintf(t->w.to, "%s! ", ladder_words_paint(&t->w, yellow));
		ladder_words_wrap(&t->w, ladder_rows_text(f, i, "text"), 2, 2);
		fputs(ladder_words_paint(&t->w, off), t->w.to);
		if (*evidence) {
			add(&why, "", "seen: %s", evidence);
			fprintf(t->w.to, "  %s", ladder_words_paint(&t->w, dim));
			ladder_words_wrap(&t->w, why.s, 2, 4);
			fputs(ladder_words_paint(&t->w, off), t->w.to);
		}
		if (*remedy) {
			add(&what, "", "\xe2\x86\x92 %s", remedy);
			fputs("  ", t->w.to);
			ladder_words_wrap(&t->w, what.s, 2, 4);
		}
	}
}

/* A command is not broken: it is there to be copied. */
static void put_next(const struct text *t)
{
	const struct report_table *n = ladder_rows_table(profile_report_const(t->p), "next");
	size_t at = 0;

	if (!n || !n->n_rows)
		return;
	fputs("\nnext: ", t->w.to);
	for (size_t i = 0; i < n->n_rows; i++) {
		const char *command = ladder_rows_text(n, i, "command");
		size_t width = escape_width(command);

		if (i && at + 3 + width > t->w.columns - 6) {
			fputs("\n      ", t->w.to);
			at = 0;
		}
		fputs(at ? "   " : "", t->w.to);
		at += width + (at ? 3 : 0);
		escape_text(t->w.to, command, 0);
	}
	fputc('\n', t->w.to);
}

static bool has_any(const struct ladder_groups *g, bool pss)
{
	for (size_t i = 0; i < g->n; i++) {
		if (pss ? g->groups[i].sums.pss_bytes : g->groups[i].sums.swap_bytes)
			return true;
	}
	return false;
}

int ladder_text_write(const struct profile *p, const struct render_options *o, FILE *to,
                      struct error *err)
{
	cleanup(ladder_group_clear) struct ladder_groups g = { 0 };
	struct text t = { .g = &g, .p = p };
	size_t columns = o && o->columns > 0 ? (size_t)o->columns : COLUMNS_DEFAULT;
	int r = ladder_group_make(p, o, &g, err);

	if (r < 0)
		return r;
	t.w = ladder_words_on(to, columns < COLUMNS_LEAST ? COLUMNS_LEAST : columns, o && o->colour,
	                      ladder_rows_total(p, "virtual_bytes", 0));
	t.rows = o && o->rows > 0 ? (size_t)o->rows : 0;
	t.pss = has_any(&g, true);
	t.swap = has_any(&g, false);
	t.room_at = LABEL + NUMBER * (2 + t.pss + t.swap) + 2;
	put_target(&t, o);
	put_head(&t);
	put_columns(&t);
	for (size_t i = 0; i < g.n; i++) {
		put_group(&t, &g.groups[i]);
		if (t.rows)
			put_rows_of(&t, &g.groups[i]);
	}
	put_kernel(&t);
	put_cgroup(&t);
	put_findings(&t);
	put_next(&t);
	return 0;
}
