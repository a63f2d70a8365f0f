/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/cell.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "render/escape.h"
#include "render/view.h"

enum {
	CELL_LINES = 3,       /* as many frames as these hold, but ... */
	CELL_NAMED = 6,       /* ... at least this many with a name */
	CELL_UNNAMED_RUN = 3, /* fold runs of this many frames without a name */
	ARROW_COLUMNS = 3,
};

void cell_clear(struct cell *c)
{
	for (size_t i = 0; i < c->n_pieces; i++)
		free(c->pieces[i].text);
	free(c->pieces);
	*c = (struct cell){ 0 };
}

static int add_piece(struct cell *c, char *text, bool is_named, struct error *err)
{
	int r;

	if (!text)
		return error_oom(err);
	r = array_reserve(&c->pieces, &c->cap_pieces, c->n_pieces + 1, err);
	if (r < 0) {
		free(text);
		return r;
	}
	c->pieces[c->n_pieces++] = (struct cell_piece){ .text = text,
		                                        .columns = escape_width(text),
		                                        .is_named = is_named };
	return 0;
}

/* A safe copy of @s of at most @max columns. */
static char *shorten(const char *s, size_t max, size_t repeats)
{
	size_t size;
	char *buf = NULL;
	FILE *to = open_memstream(&buf, &size);

	if (!to)
		return NULL;
	escape_text_middle(to, s, max);
	if (repeats > 1)
		fprintf(to, " \xc3\x97%zu", repeats);
	if (fclose(to) != 0)
		free(take_ptr(buf));
	return buf;
}

static bool is_named(const struct profile *p, uint32_t frame)
{
	const struct profile_frame *f = profile_frame_at(p, frame);

	return f && f->name;
}

/* Number of frames from @i on that have no name. */
static size_t unnamed_run(const struct profile *p, const struct profile_sample *s, size_t i)
{
	size_t n = 0;

	while (i + n < s->n_frames && !is_named(p, s->frames[i + n]))
		n++;
	return n;
}

static size_t same_run(const struct profile *p, const struct profile_sample *s, size_t i)
{
	const struct profile_frame *f = profile_frame_at(p, s->frames[i]);
	size_t n = 1;

	while (f && f->name && i + n < s->n_frames) {
		const struct profile_frame *next = profile_frame_at(p, s->frames[i + n]);

		if (!next || next->name != f->name || next->module != f->module)
			break;
		n++;
	}
	return n;
}

static int add_run(struct cell *c, size_t n, struct error *err)
{
	char *text = NULL;

	if (asprintf(&text, "\xe2\x80\xa6%zu without a name\xe2\x80\xa6", n) < 0)
		text = NULL;
	return add_piece(c, text, false, err);
}

int cell_make(const struct profile *p, const struct profile_sample *s, size_t max_columns,
              struct cell *ret, struct error *err)
{
	cleanup(cell_clear) struct cell c = { 0 };
	char buf[512];
	size_t step;

	for (size_t i = 0; i < s->n_frames; i += step) {
		size_t run = unnamed_run(p, s, i);
		int r;

		step = 1;
		if (run > CELL_UNNAMED_RUN) {
			/* the first one of a run tells at least the module */
			r = add_piece(&c,
			              shorten(view_frame_text(p, s->frames[i], buf, sizeof(buf)),
			                      max_columns, 1),
			              false, err);
			if (r == 0)
				r = add_run(&c, run - 1, err);
			step = run;
		} else {
			step = same_run(p, s, i);
			r = add_piece(&c,
			              shorten(view_frame_text(p, s->frames[i], buf, sizeof(buf)),
			                      max_columns, step),
			              run == 0, err);
		}
		if (r < 0)
			return r;
	}
	*ret = c;
	c = (struct cell){ 0 };
	return 0;
}

/* How many pieces from the leaf on to show before the fold. */
static size_t pieces_shown(const struct cell *c, size_t columns)
{
	size_t line = 1, at = 0, named = 0, i;

	for (i = 0; i < c->n_pieces; i++) {
		size_t need = c->pieces[i].columns + ARROW_COLUMNS;

		if (at && at + need > columns) {
			line++;
			at = 0;
		}
		/* the last line keeps room for the fold and the root */
		if ((line > CELL_LINES ||
		     (line == CELL_LINES && at + need + columns / 2 > columns)) &&
		    named >= CELL_NAMED)
			break;
		at += need;
		named += c->pieces[i].is_named;
	}
	return i + 2 >= c->n_pieces ? c->n_pieces : i;
}

struct pen {
	FILE *to;
	size_t columns, indent, at;
	bool colour;
};

static void put_piece(struct pen *pen, const char *text, size_t columns, bool dim, bool is_last)
{
	if (pen->at && pen->at + columns + (is_last ? 0 : 2) > pen->columns) {
		fprintf(pen->to, "\n%*s", (int)pen->indent, "");
		pen->at = 0;
	}
	fprintf(pen->to, "%s%s%s%s", pen->at ? " " : "", dim && pen->colour ? "\033[2m" : "", text,
	        dim && pen->colour ? "\033[0m" : "");
	if (!is_last)
		fputs(pen->colour ? "\033[2m \xe2\x86\x90\033[0m" : " \xe2\x86\x90", pen->to);
	pen->at += columns + ARROW_COLUMNS;
}

void cell_print(const struct cell *c, FILE *to, size_t columns, size_t indent, bool colour)
{
	struct pen pen = { .to = to, .columns = columns, .indent = indent, .colour = colour };
	size_t shown = pieces_shown(c, columns);

	for (size_t i = 0; i < c->n_pieces; i++) {
		const struct cell_piece *p = &c->pieces[i];
		char fold[48];

		if (i == shown) {
			size_t n = c->n_pieces - 1 - i;

			snprintf(fold, sizeof(fold), "\xe2\x80\xa6 %zu more \xe2\x80\xa6", n);
			put_piece(&pen, fold, escape_width(fold), true, false);
			i = c->n_pieces - 1;
			p = &c->pieces[i];
		}
		put_piece(&pen, p->text, p->columns, !p->is_named, i + 1 == c->n_pieces);
	}
	if (!c->n_pieces)
		fputs("[no stack]", to);
}
