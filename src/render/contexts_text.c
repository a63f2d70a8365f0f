/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/contexts_text.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/escape.h"
#include "render/units.h"

enum { ROWS_DEFAULT = 100, COLUMN = 11, IDENT_COLUMNS = 60 };

bool contexts_text_is(const struct profile *p)
{
	const struct report_figure *f = report_get(profile_report_const(p), "result");

	return f && f->kind == REPORT_TEXT && f->text && !strcmp(f->text, "contexts");
}

static const struct report_table *find(const struct report *r, const char *key)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		if (!strcmp(r->tables[i].key, key))
			return &r->tables[i];
	}
	return NULL;
}

/* The cell of row @row in column @name; an empty one if there is none. */
static const struct report_figure *cell(const struct report_table *t, size_t row, const char *name)
{
	static const struct report_figure none = { .kind = REPORT_INT };

	for (size_t c = 0; c < t->n_columns; c++) {
		if (!strcmp(t->columns[c], name))
			return &t->cells[row * t->n_columns + c];
	}
	return &none;
}

static int64_t number(const struct report_table *t, size_t row, const char *name)
{
	return cell(t, row, name)->integer;
}

static const char *text(const struct report_table *t, size_t row, const char *name)
{
	const struct report_figure *f = cell(t, row, name);

	return f->kind == REPORT_TEXT && f->text ? f->text : "";
}

static void put_bytes(FILE *to, int64_t bytes)
{
	char buf[UNITS_BYTES];

	fprintf(to, "%*s", COLUMN, units_bytes(bytes, buf, sizeof(buf)));
}

static void put_row(const struct report_table *t, size_t row, FILE *to)
{
	int64_t level = number(t, row, "level");

	put_bytes(to, number(t, row, "total_bytes"));
	put_bytes(to, number(t, row, "used_bytes"));
	put_bytes(to, number(t, row, "free_bytes"));
	fprintf(to, "%8lld  %*s", (long long)number(t, row, "blocks"),
	        level > 0 && level < 200 ? (int)(2 * level) : 0, "");
	escape_text(to, text(t, row, "name"), 0);
	if (text(t, row, "ident")[0]) {
		fputs(": ", to);
		escape_text(to, text(t, row, "ident"), IDENT_COLUMNS);
	}
	fputc('\n', to);
}

static void put_name(const struct report_table *t, size_t row, FILE *to)
{
	fprintf(to, "process %lld", (long long)number(t, row, "pid"));
	if (text(t, row, "process")[0]) {
		fputs(" (", to);
		escape_text(to, text(t, row, "process"), 0);
		fputc(')', to);
	}
	if (number(t, row, "leader"))
		fprintf(to, " for %lld", (long long)number(t, row, "leader"));
}

/* Of several processes each has its name above its tree. */
static void put_tree(const struct report_table *t, const struct report_table *processes,
                     size_t rows, FILE *to)
{
	size_t process = 0;

	for (size_t i = 0; i < t->n_rows && i < rows; i++) {
		const int64_t pid = number(t, i, "pid");

		if (processes->n_rows > 1 && (i == 0 || pid != number(t, i - 1, "pid"))) {
			while (process < processes->n_rows &&
			       number(processes, process, "pid") != pid)
				process++;
			fprintf(to, "%s", i ? "\n" : "");
			if (process < processes->n_rows)
				put_name(processes, process, to);
			fputc('\n', to);
		}
		put_row(t, i, to);
	}
}

static void put_process(const struct report_table *t, size_t row, FILE *to)
{
	char buf[UNITS_BYTES];

	put_name(t, row, to);
	fprintf(to, ": %s in ", units_bytes(number(t, row, "total_bytes"), buf, sizeof(buf)));
	fprintf(to, "%s contexts", units_count(number(t, row, "contexts"), buf, sizeof(buf)));
	fprintf(to, ", used %s", units_bytes(number(t, row, "used_bytes"), buf, sizeof(buf)));
	if (number(t, row, "parked_bytes") > 0)
		fprintf(to, "; deleted and kept for reuse %s",
		        units_bytes(number(t, row, "parked_bytes"), buf, sizeof(buf)));
	if (number(t, row, "outside_bytes") >= 0)
		fprintf(to, "; malloc outside contexts %s",
		        units_bytes(number(t, row, "outside_bytes"), buf, sizeof(buf)));
	if (number(t, row, "stopped_us") > 0)
		fprintf(to, "; stopped for %.1f ms", (double)number(t, row, "stopped_us") / 1000);
	fputc('\n', to);
}

/* What the rows that are not shown have together. */
static void put_rest(const struct report_table *t, size_t from, FILE *to)
{
	int64_t total = 0, used = 0, free = 0, blocks = 0;

	for (size_t i = from; i < t->n_rows; i++) {
		total += number(t, i, "total_bytes");
		used += number(t, i, "used_bytes");
		free += number(t, i, "free_bytes");
		blocks += number(t, i, "blocks");
	}
	put_bytes(to, total);
	put_bytes(to, used);
	put_bytes(to, free);
	fprintf(to, "%8lld  %zu more contexts (--rows, or --json for all)\n", (long long)blocks,
	        t->n_rows - from);
}

int contexts_text_write(const struct profile *p, const struct render_options *o, FILE *to,
                        struct error *err)
{
	const struct report *r = profile_report_const(p);
	const struct report_table *contexts = find(r, "contexts"),
				  *processes = find(r, "processes");
	size_t rows = o && o->rows > 0 ? (size_t)o->rows : ROWS_DEFAULT;

	if (!contexts || !processes)
		return error_set(err, EBADMSG, "no table of contexts");
	for (size_t i = 0; i < processes->n_rows; i++)
		put_process(processes, i, to);
	fprintf(to, "\n%*s%*s%*s%8s  %s\n", COLUMN, "TOTAL", COLUMN, "USED", COLUMN, "FREE",
	        "BLOCKS", "CONTEXT");
	/* one row too many is not worth a line that says so */
	if (contexts->n_rows == rows + 1)
		rows++;
	put_tree(contexts, processes, rows, to);
	if (contexts->n_rows > rows)
		put_rest(contexts, rows, to);
	return 0;
}
