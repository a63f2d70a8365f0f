/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Named figures beside a profile: engine, measured cost, lost events, how it
 * ended, coverage. An ordered list of (key, title, value), and tables of rows
 * for what comes in rows (contexts, probes, processes). Keys are the stable
 * names of our JSON; setting a key again replaces its value. A pprof file
 * carries the figures as comments "memwho: key=value".
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum report_kind { REPORT_INT, REPORT_DOUBLE, REPORT_TEXT };

struct report_figure {
	char *key;
	char *title; /* what a person reads; NULL: not shown in the table output */
	enum report_kind kind;
	int64_t integer;
	double real;
	char *text;
	char unit[16]; /* "bytes", "s", "percent", "" ... */
};

struct report_table {
	char *key;
	char **columns; /* n_columns keys; a column "…_bytes" holds bytes */
	size_t n_columns;
	struct report_figure *cells; /* row-major; only kind and value are used */
	size_t n_rows, cap_cells;
};

struct report {
	struct report_figure *figures;
	size_t n_figures, cap_figures;
	struct report_table *tables;
	size_t n_tables, cap_tables;
};

/* Cells for report_row(). */
static inline struct report_figure report_cell_int(int64_t v)
{
	return (struct report_figure){ .kind = REPORT_INT, .integer = v };
}

static inline struct report_figure report_cell_text(const char *s)
{
	return (struct report_figure){ .kind = REPORT_TEXT, .text = (char *)s };
}

void report_clear(struct report *r); /* frees what it holds; { 0 } is empty */

int report_int(struct report *r, const char *key, const char *title, int64_t v, const char *unit,
               struct error *err);
int report_double(struct report *r, const char *key, const char *title, double v, const char *unit,
                  struct error *err);
int report_text(struct report *r, const char *key, const char *title, const char *v,
                struct error *err);
const struct report_figure *report_get(const struct report *r, const char *key);

/* The table @key, made with these columns on first use; -EINVAL if it has a
 * different number. *ret is valid until the next table is made. */
int report_table(struct report *r, const char *key, const char *const *columns, size_t n_columns,
                 struct report_table **ret, struct error *err);
/* Append a row: one cell for each column; texts are copied. */
int report_row(struct report_table *t, const struct report_figure *cells, struct error *err);

/* Figures and tables of @from, in place of @to's of the same key. */
int report_copy(struct report *to, const struct report *from, struct error *err);
