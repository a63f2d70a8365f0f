/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_births.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "profile/report.h"
#include "refs/refs_frame.h"

#define HELD_BY "[held by]"
#define GARBAGE "[garbage]"

enum { MAX_ROWS = 1000 };

struct row {
	const char *born_in, *held_by;
	uint64_t bytes, objects, samples;
};

struct filling {
	const struct object_graph *g;
	const struct paths *p;
	struct profile *to;
	uint32_t held_by, garbage; /* frames */
	uint32_t *frames;          /* of texts of the graph: frame + 1; 0 not yet */
	struct row *rows;
	size_t n_rows, cap_rows;
	struct hash_map row_of; /* stack's innermost text, root's text -> row */
	uint64_t samples, live, dead;
	struct error *err;
};

static void filling_clear(struct filling *f)
{
	free(f->frames);
	free(f->rows);
	hash_map_clear(&f->row_of);
}

/* ---- stacks ---- */

static int function(struct filling *f, uint32_t text, uint32_t *ret)
{
	int r = 0;

	if (!f->frames[text]) {
		r = refs_frame(f->to, object_graph_name(f->g, text), ret, f->err);
		if (r == 0)
			f->frames[text] = *ret + 1;
	}
	*ret = f->frames[text] - 1;
	return r;
}

/* The way to what is at @place, the innermost first; *ret_root: text of its root. */
static int add_path(struct filling *f, uint32_t place, uint32_t *frames, size_t *n,
                    uint32_t *ret_root)
{
	for (uint32_t at = place; at != UINT32_MAX; at = f->p->places[at].parent) {
		const char *text = object_graph_name(&f->p->texts, f->p->places[at].frame);
		int r = refs_frame(f->to, text, &frames[*n], f->err);

		if (r < 0)
			return r;
		++*n;
		*ret_root = f->p->places[at].frame;
	}
	frames[(*n)++] = f->held_by;
	return 0;
}

static int add_stack(struct filling *f, const struct object_birth_stack *s, uint32_t *frames,
                     size_t *n)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->n && *n < PROFILE_MAX_FRAMES; i++)
		r = function(f, f->g->birth_frames[s->first + i], &frames[(*n)++]);
	return r;
}

/* ---- rows ---- */

static int add_row(struct filling *f, const struct object_birth *b, uint32_t root)
{
	const struct object_birth_stack *s = &f->g->birth_stacks[b->stack];
	uint32_t site = s->n ? f->g->birth_frames[s->first] : 0;
	const uint64_t key = (uint64_t)site << 32 | root, *found = hash_map_get(&f->row_of, key);
	struct row *row;
	int r;

	if (!found) {
		r = array_reserve(&f->rows, &f->cap_rows, f->n_rows + 1, f->err);
		if (r == 0)
			r = hash_map_put(&f->row_of, key, f->n_rows, f->err);
		if (r < 0)
			return r;
		f->rows[f->n_rows] = (struct row){
			.born_in = object_graph_name(f->g, site),
			.held_by = root == UINT32_MAX ? GARBAGE
			                              : object_graph_name(&f->p->texts, root),
		};
		row = &f->rows[f->n_rows++];
	} else {
		row = &f->rows[*found];
	}
	row->bytes += b->bytes;
	row->objects += b->objects;
	row->samples++;
	return 0;
}

static int add_birth(struct filling *f, const struct object_birth *b)
{
	const int64_t values[] = { (int64_t)b->objects, (int64_t)b->bytes };
	bool is_garbage = b->node == UINT32_MAX;
	uint32_t place = is_garbage ? UINT32_MAX : f->p->place[b->node];
	uint32_t frames[PROFILE_MAX_FRAMES], root = UINT32_MAX;
	size_t n = 0;
	int r = 0;

	if (is_garbage)
		frames[n++] = f->garbage;
	else if (place == UINT32_MAX) /* of a root that nobody asked for */
		return 0;
	else
		r = add_path(f, place, frames, &n, &root);
	if (r == 0)
		r = add_stack(f, &f->g->birth_stacks[b->stack], frames, &n);
	if (r == 0)
		r = profile_add(f->to, frames, n, NULL, 0, values, f->err);
	if (r == 0)
		r = add_row(f, b, root);
	f->samples++;
	*(is_garbage ? &f->dead : &f->live) += b->bytes;
	return r;
}

static int more_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

static int add_table(struct filling *f, struct report *to)
{
	static const char *const columns[] = { "born_in", "held_by", "bytes", "objects",
		                               "samples" };
	struct report_table *t;
	int r = report_table(to, "births", columns, ARRAY_SIZE(columns), &t, f->err);

	if (f->n_rows)
		qsort(f->rows, f->n_rows, sizeof(*f->rows), more_first);
	for (size_t i = 0; r == 0 && i < f->n_rows && i < MAX_ROWS; i++) {
		const struct row *row = &f->rows[i];

		r = report_row(t,
		               (struct report_figure[]){ report_cell_text(row->born_in),
		                                         report_cell_text(row->held_by),
		                                         report_cell_int((int64_t)row->bytes),
		                                         report_cell_int((int64_t)row->objects),
		                                         report_cell_int((int64_t)row->samples) },
		               f->err);
	}
	return r;
}

static int add_figures(struct filling *f, struct report *to)
{
	int r = report_int(to, "birth_rate_bytes", "one sample in", (int64_t)f->g->birth_rate,
	                   "bytes", f->err);

	if (r == 0)
		r = report_int(to, "birth_samples", "samples", (int64_t)f->samples, "", f->err);
	if (r == 0)
		r = report_int(to, "birth_live_bytes", "live, by the samples", (int64_t)f->live,
		               "bytes", f->err);
	if (r == 0)
		r = report_int(to, "birth_garbage_bytes", "garbage, by the samples",
		               (int64_t)f->dead, "bytes", f->err);
	return r;
}

int refs_births_fill(const struct object_graph *g, const struct paths *p, bool only_some,
                     struct profile *to, struct error *err)
{
	cleanup(filling_clear) struct filling f = { .g = g, .p = p, .to = to, .err = err };
	int r;

	if (!g->birth_rate) {
		error_set(err, ENODATA, "no births: %s has recorded no heap profile",
		          g->runtime[0] ? g->runtime : "its runtime");
		return error_hint(err,
		                  "a Go program records one if something in it reads it (import "
		                  "net/http/pprof); without --births refs says who holds the heap");
	}
	f.frames = calloc(g->n_texts + 1, sizeof(*f.frames));
	if (!f.frames)
		return error_oom(err);
	r = profile_frame_named(to, HELD_BY, &f.held_by, err);
	if (r == 0)
		r = profile_frame_named(to, GARBAGE, &f.garbage, err);
	for (size_t i = 0; r == 0 && i < g->n_births; i++) {
		if (!only_some || g->births[i].node != UINT32_MAX)
			r = add_birth(&f, &g->births[i]);
	}
	if (r == 0)
		r = add_figures(&f, profile_report(to));
	return r < 0 ? r : add_table(&f, profile_report(to));
}

const struct object_birth *refs_births_of(const struct object_graph *g, uint32_t node)
{
	for (size_t i = 0; i < g->n_births; i++) {
		if (g->births[i].node == node)
			return &g->births[i];
	}
	return NULL;
}
