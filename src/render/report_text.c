/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/report_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/escape.h"
#include "render/figures.h"

enum {
	TABLE_ROWS = 20,
	CELL_COLUMNS = 60, /* widest cell */
	MAX_COLUMNS = 16,
	COLUMNS_WANTED = 4, /* names are cut as far as one likes for these */
	NAME_COLUMNS = 30,  /* and as far as this for more */
	NAME_LEAST = 12,
};

static const char dot[] = " \xc2\xb7 ";

void report_text_wrap(FILE *to, const char *s, size_t columns)
{
	size_t at = 0;

	while (*s) {
		const char *end = strstr(s, dot);
		size_t n = end ? (size_t)(end - s) : strlen(s);
		cleanup_free char *part = strndup(s, n);
		size_t width = part ? escape_width(part) : 0;

		if (at && at + 3 + width > columns) {
			fputc('\n', to);
			at = 0;
		}
		if (at)
			fputs(dot, to);
		if (part)
			escape_text(to, part, 0);
		at += width + (at ? 3 : 0);
		s += n + (end ? strlen(dot) : 0);
	}
}

void report_text_figures(FILE *to, const struct report *r, size_t columns)
{
	cleanup_free char *line = NULL;
	char value[FIGURES_BYTES];
	size_t size = 0, n = 0;
	FILE *f = open_memstream(&line, &size);

	if (!f)
		return;
	for (size_t i = 0; i < r->n_figures; i++) {
		const struct report_figure *fig = &r->figures[i];

		if (fig->title && *fig->title && !figures_is_told(fig->key))
			fprintf(f, "%s%s %s", n++ ? dot : "", fig->title,
			        figures_value(fig, value, sizeof(value)));
	}
	if (fclose(f) == 0 && n) {
		report_text_wrap(to, line, columns);
		fputc('\n', to);
	}
}

static bool is_text_column(const struct report_table *t, size_t c)
{
	return t->n_rows && t->cells[c].kind == REPORT_TEXT;
}

static size_t column_width(const struct report_table *t, size_t c, size_t rows)
{
	size_t width = escape_width(t->columns[c]);
	char buf[FIGURES_BYTES];

	for (size_t row = 0; row < rows; row++) {
		size_t w = escape_width(figures_cell(t, row, c, buf, sizeof(buf)));

		width = w > width ? w : width;
	}
	return width > CELL_COLUMNS ? CELL_COLUMNS : width;
}

static void put_cell(FILE *to, const char *text, size_t width, bool left, bool is_last)
{
	size_t w = escape_width(text), pad = w < width ? width - w : 0;

	if (!left)
		fprintf(to, "%*s", (int)pad, "");
	escape_text_middle(to, text, width);
	if (left && !is_last)
		fprintf(to, "%*s", (int)pad, "");
	fputs(is_last ? "\n" : "  ", to);
}

/* How wide names may be if @n columns share @columns: what those leave that need less. */
static size_t room_of_names(const struct report_table *t, const size_t width[MAX_COLUMNS], size_t n,
                            size_t columns)
{
	bool fits[MAX_COLUMNS] = { false }, is_new = true;
	size_t used = 0, names = 0, each = 0;

	for (size_t c = 0; c < n; c++) {
		used += 2 + (is_text_column(t, c) ? 0 : width[c]);
		names += is_text_column(t, c);
	}
	while (names && is_new) {
		is_new = false;
		each = used < columns ? (columns - used) / names : 0;
		for (size_t c = 0; c < n && !is_new; c++) {
			if (!is_text_column(t, c) || fits[c] || width[c] > each)
				continue;
			fits[c] = is_new = true;
			used += width[c];
			names--;
		}
	}
	return names ? each : used <= columns + 2 ? CELL_COLUMNS : 0;
}

/* Rather more columns with names cut than names in full: as many as leave names a room that says
 * something; what does not fit any more is left to JSON. */
static size_t share_room(const struct report_table *t, size_t columns, size_t rows,
                         size_t width[MAX_COLUMNS])
{
	size_t n = t->n_columns < MAX_COLUMNS ? t->n_columns : MAX_COLUMNS, room;

	for (size_t c = 0; c < n; c++)
		width[c] = column_width(t, c, rows);
	for (;; n--) {
		room = room_of_names(t, width, n, columns);
		if (n == 1 || room >= (n > COLUMNS_WANTED ? NAME_COLUMNS : NAME_LEAST))
			break;
	}
	for (size_t c = 0; c < n; c++) {
		if (is_text_column(t, c) && width[c] > room)
			width[c] = room > NAME_LEAST ? room : NAME_LEAST;
	}
	return n;
}

static void put_table(FILE *to, const struct report_table *t, size_t columns, bool colour)
{
	size_t rows = t->n_rows < TABLE_ROWS ? t->n_rows : TABLE_ROWS;
	size_t width[MAX_COLUMNS], n = share_room(t, columns, rows, width);
	char buf[FIGURES_BYTES];

	fprintf(to, "\n%s", colour ? "\033[1m" : "");
	escape_text(to, t->key, CELL_COLUMNS);
	fprintf(to, "%s\n%s", colour ? "\033[0m" : "", colour ? "\033[2m" : "");
	for (size_t c = 0; c < n; c++)
		put_cell(to, t->columns[c], width[c], is_text_column(t, c), c + 1 == n);
	fputs(colour ? "\033[0m" : "", to);
	for (size_t row = 0; row < rows; row++) {
		for (size_t c = 0; c < n; c++)
			put_cell(to, figures_cell(t, row, c, buf, sizeof(buf)), width[c],
			         is_text_column(t, c), c + 1 == n);
	}
	if (rows < t->n_rows)
		fprintf(to, "... %zu more rows\n", t->n_rows - rows);
}

void report_text_tables(FILE *to, const struct report *r, size_t columns, bool colour)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		/* one process is in the title already */
		if (!strcmp(r->tables[i].key, "processes") && r->tables[i].n_rows == 1)
			continue;
		/* for scripts; what is wrong was said on standard error */
		if (!strcmp(r->tables[i].key, "self_check") ||
		    !strcmp(r->tables[i].key, "warnings"))
			continue;
		if (r->tables[i].n_rows && r->tables[i].n_columns)
			put_table(to, &r->tables[i], columns, colour);
	}
}
