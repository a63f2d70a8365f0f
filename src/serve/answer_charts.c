/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/answer_charts.h"

#include <stdbool.h>
#include <stdlib.h>

#include "render/units.h"

enum {
	GROWTH_WIDTH = 260,
	GROWTH_HEIGHT = 56,
	GROWTH_TOP = 13, /* room for the number of the highest line */
	LADDER_WIDTH = 280,
	LADDER_HEIGHT = 12,
	LADDER_PARTS = 5, /* that are named; the others are one */
};

void answer_charts_bytes(FILE *to, uint64_t bytes)
{
	char text[UNITS_BYTES];

	fputs(units_bytes((int64_t)bytes, text, sizeof(text)), to);
}

/* ---- growth ---- */

static uint64_t point(const struct watched_item *item, size_t i)
{
	return item->history[(item->next_history + i) % WATCHED_HISTORY];
}

static double x_of(size_t i)
{
	return (double)i * GROWTH_WIDTH / (WATCHED_HISTORY - 1);
}

static double y_of(uint64_t bytes, uint64_t most)
{
	return GROWTH_HEIGHT - 1 - (double)bytes / (double)most * (GROWTH_HEIGHT - 1 - GROWTH_TOP);
}

/* One piece for each time that something was there. */
static void write_line(const struct watched_item *item, uint64_t most, FILE *to)
{
	bool pen = false;

	for (size_t i = 0; i < WATCHED_HISTORY; i++) {
		const uint64_t v = point(item, i);

		if (v)
			fprintf(to, "%s%.1f %.1f", pen ? "L" : "M", x_of(i), y_of(v, most));
		pen = v != 0;
	}
}

static void write_area(const struct watched_item *item, uint64_t most, FILE *to)
{
	for (size_t i = 0; i < WATCHED_HISTORY;) {
		size_t end = i;

		while (end < WATCHED_HISTORY && point(item, end))
			end++;
		if (end > i)
			fprintf(to, "M%.1f %d", x_of(i), GROWTH_HEIGHT);
		for (size_t k = i; k < end; k++)
			fprintf(to, "L%.1f %.1f", x_of(k), y_of(point(item, k), most));
		if (end > i)
			fprintf(to, "L%.1f %dZ", x_of(end - 1), GROWTH_HEIGHT);
		i = end + 1;
	}
}

void answer_charts_growth(const struct watched_item *item, FILE *to)
{
	uint64_t most = 0;

	for (size_t i = 0; i < WATCHED_HISTORY; i++)
		most = point(item, i) > most ? point(item, i) : most;
	if (!most)
		return;
	fprintf(to,
	        "<svg class=chart width=%d height=%d viewBox=\"0 0 %d %d\" role=img "
	        "aria-label=\"resident memory of the last ten minutes\">",
	        GROWTH_WIDTH, GROWTH_HEIGHT, GROWTH_WIDTH, GROWTH_HEIGHT);
	fputs("<path d=\"", to);
	write_line(item, most, to);
	fputs("\"/><path class=area d=\"", to);
	write_area(item, most, to);
	fprintf(to, "\"/><line x2=%d y1=%d y2=%d /><text y=%d>", GROWTH_WIDTH, GROWTH_TOP,
	        GROWTH_TOP, GROWTH_TOP - 3);
	answer_charts_bytes(to, most);
	fputs("</text></svg>", to);
}

/* ---- the ladder ---- */

static int by_resident(const void *a, const void *b)
{
	const struct metrics_page_row *x = a, *y = b;

	return (x->resident_bytes < y->resident_bytes) - (x->resident_bytes > y->resident_bytes);
}

/* The largest first, what lies in another row left out, all behind LADDER_PARTS added up; returns
 * how many there are, and their sum. */
static size_t largest(const struct metrics_page_rows *rows, struct metrics_page_row *to,
                      uint64_t *ret_sum)
{
	size_t n = 0;

	*ret_sum = 0;
	for (size_t i = 0; i < rows->n; i++) {
		if (rows->row[i].is_inside || !rows->row[i].resident_bytes)
			continue;
		to[n++] = rows->row[i];
		*ret_sum += rows->row[i].resident_bytes;
	}
	qsort(to, n, sizeof(*to), by_resident);
	if (n <= LADDER_PARTS + 1)
		return n;
	to[LADDER_PARTS].kind = "other";
	for (size_t i = LADDER_PARTS + 1; i < n; i++)
		to[LADDER_PARTS].resident_bytes += to[i].resident_bytes;
	return LADDER_PARTS + 1;
}

void answer_charts_ladder(const struct metrics_page_rows *rows, FILE *to)
{
	struct metrics_page_row part[METRICS_PAGE_MAX_KINDS];
	uint64_t sum = 0, before = 0;
	const size_t n = rows ? largest(rows, part, &sum) : 0;

	if (!sum) {
		fputs(rows ? "nothing" : "not read yet", to);
		return;
	}
	fprintf(to,
	        "<svg class=ladder width=%d height=%d role=img aria-label=\"resident memory by "
	        "owner\">",
	        LADDER_WIDTH, LADDER_HEIGHT);
	for (size_t i = 0; i < n; i++) {
		fprintf(to, "<rect class=k%zu x=%.1f width=%.1f height=%d />", i,
		        (double)before / (double)sum * LADDER_WIDTH,
		        (double)part[i].resident_bytes / (double)sum * LADDER_WIDTH, LADDER_HEIGHT);
		before += part[i].resident_bytes;
	}
	fputs("</svg><ul class=parts>", to);
	for (size_t i = 0; i < n; i++) {
		fprintf(to, "<li class=k%zu>%s ", i, part[i].kind);
		answer_charts_bytes(to, part[i].resident_bytes);
	}
	fputs("</ul>", to);
}
