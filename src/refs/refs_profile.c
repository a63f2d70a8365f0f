/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/spare.h"
#include "refs/paths.h"
#include "refs/refs.h"
#include "refs/refs_births.h"
#include "refs/refs_frame.h"
#include "refs/refs_held.h"
#include "refs/refs_shared.h"
#include "refs/refs_types.h"

enum { BIG_ROWS = 20, TYPE_ROWS = 1000, TEXT_BYTES = 1024 };

static const struct profile_type value_types[] = {
	{ "inuse_objects", "count" },
	{ "inuse_space", "bytes" },
};

struct making {
	const struct object_graph *g;
	const struct refs_options *o;
	struct dominators d;
	struct refs_types_row *types; /* by retained bytes */
	size_t n_types;
	struct shared s;
	struct paths p;
	bool *wanted;
	struct profile *to;
	struct error *err;
};

static void making_clear(struct making *m)
{
	dominators_clear(&m->d);
	free(m->types);
	shared_clear(&m->s);
	paths_clear(&m->p);
	free(m->wanted);
	profile_free(m->to);
}

/* ---- which roots ---- */

/* "main.gList", or as tables have it, "main.gList *main.node". */
static bool is_named(const struct object_graph *g, const struct object_root *root,
                     const regex_t *re)
{
	char name[TEXT_BYTES];

	snprintf(name, sizeof(name), "%s %s", object_graph_name(g, root->name),
	         object_graph_name(g, root->type));
	return regexec(re, object_graph_name(g, root->name), 0, NULL, 0) == 0 ||
	       (root->type && regexec(re, name, 0, NULL, 0) == 0);
}

static int choose_roots(struct making *m)
{
	const struct refs_options *o = m->o;
	bool is_any = false;
	regex_t re;
	int r;

	if (!o->only_from && o->view != REFS_GOROUTINES)
		return 0;
	m->wanted = calloc(m->g->n_roots + 1, sizeof(*m->wanted));
	if (!m->wanted)
		return error_oom(m->err);
	r = regcomp(&re, o->only_from ? o->only_from : "", REG_EXTENDED | REG_NOSUB);
	if (r) {
		char text[128];

		regerror(r, &re, text, sizeof(text));
		return error_set(m->err, EINVAL, "'%s': %s", o->only_from, text);
	}
	for (size_t i = 0; i < m->g->n_roots; i++) {
		const struct object_root *root = &m->g->roots[i];

		m->wanted[i] = (o->view != REFS_GOROUTINES || root->tier == OBJECT_TIER_STACK) &&
		               is_named(m->g, root, &re);
		is_any |= m->wanted[i];
	}
	regfree(&re);
	if (is_any || !o->only_from)
		return 0;
	error_set(m->err, ENOENT, "no root's name matches '%s'", o->only_from);
	return error_hint(m->err, "the table roots of refs without --only-from has them all");
}

/* ---- samples ---- */

static int add_place(struct making *m, const struct paths_place *place)
{
	uint32_t frames[PATHS_MAX_DEPTH + 1];
	const int64_t values[] = { (int64_t)place->objects, (int64_t)place->bytes };
	size_t n = 0;

	if (!place->objects)
		return 0;
	for (const struct paths_place *k = place; k && n <= PATHS_MAX_DEPTH; n++) {
		int r = refs_frame(m->to, object_graph_name(&m->p.texts, k->frame), &frames[n],
		                   m->err);

		if (r < 0)
			return r;
		k = k->parent == UINT32_MAX ? NULL : &m->p.places[k->parent];
	}
	return profile_add(m->to, frames, n, NULL, 0, values, m->err);
}

static const char *type_name(const struct object_graph *g, uint32_t type)
{
	return type ? object_graph_name(g, type) : "[unknown type]";
}

static int add_types_as_samples(struct making *m)
{
	const struct refs_types_row *rows = m->types;

	for (size_t i = 0; i < m->n_types; i++) {
		const int64_t values[] = { (int64_t)rows[i].objects, (int64_t)rows[i].bytes };
		uint32_t frame;
		int r = refs_frame(m->to, type_name(m->g, rows[i].type), &frame, m->err);

		if (r == 0)
			r = profile_add(m->to, &frame, 1, NULL, 0, values, m->err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- tables ---- */

struct root_order {
	uint32_t root, members;
	uint64_t retained;
};

static int more_first(const void *a, const void *b)
{
	const struct root_order *x = a, *y = b;

	if (x->retained != y->retained)
		return x->retained > y->retained ? -1 : 1;
	return x->members > y->members ? -1 : x->members < y->members;
}

static int add_roots(struct making *m, struct report *to)
{
	static const char *const columns[] = { "name", "kind", "retained_bytes", "retained_objects",
		                               "shared_with" };
	const struct object_graph *g = m->g;
	cleanup_free struct root_order *order = calloc(g->n_roots + 1, sizeof(*order));
	cleanup(refs_shared_index_clear) struct refs_shared_index sets = { 0 };
	struct report_table *t;
	size_t n = 0;
	int r = order ? report_table(to, "roots", columns, ARRAY_SIZE(columns), &t, m->err)
	              : error_oom(m->err);

	if (r == 0)
		r = refs_shared_index_make(&m->s, g->n_roots, &sets, m->err);

	for (uint32_t i = 0; r == 0 && i < g->n_roots; i++) {
		if (!m->wanted || m->wanted[i])
			order[n++] = (struct root_order){ i, 0, m->d.kept[i].bytes };
	}
	qsort(order, n, sizeof(*order), more_first);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct object_root *root = &g->roots[order[i].root];
		char name[TEXT_BYTES], with[TEXT_BYTES];

		snprintf(name, sizeof(name), "%s%s%s", object_graph_name(g, root->name),
		         root->type ? " " : "", object_graph_name(g, root->type));
		refs_shared_with(g, &m->s, &sets, order[i].root, with, sizeof(with));
		r = report_row(t,
		               (struct report_figure[]){
				       report_cell_text(name),
				       report_cell_text(object_graph_name(g, root->kind)),
				       report_cell_int(order[i].retained),
				       report_cell_int(m->d.kept[order[i].root].objects),
				       report_cell_text(with) },
		               m->err);
	}
	return r;
}

/* "main.serve" of "goroutines of main.serve (created by main.main)": what a narrow table has no
 * room to say twice. */
static void function_of(const char *name, char *buf, size_t size)
{
	const char *of = strstr(name, " of "), *end;

	if (of)
		name = of + 4;
	end = strstr(name, " (created by ");
	snprintf(buf, size, "%.*s", (int)(end ? (size_t)(end - name) : strlen(name)), name);
}

static int add_member(struct making *m, struct report_table *t, uint32_t root)
{
	const struct object_graph *g = m->g;
	const struct object_root *k = &g->roots[root];
	char function[TEXT_BYTES];

	function_of(object_graph_name(g, k->name), function, sizeof(function));
	return report_row(
		t,
		(struct report_figure[]){ report_cell_text(function), report_cell_int(k->members),
	                                  report_cell_int(m->d.kept[root].bytes),
	                                  report_cell_text(object_graph_name(g, k->state)),
	                                  report_cell_text(object_graph_name(g, k->created_by)),
	                                  report_cell_text(object_graph_name(g, k->name)) },
		m->err);
}

/* Roots that are several goroutines, coroutines or threads. */
static int add_members(struct making *m, struct report *to)
{
	static const char *const columns[] = { "function", "count",      "retained_bytes",
		                               "waiting",  "created_by", "name" };
	const struct object_graph *g = m->g;
	cleanup_free struct root_order *order = calloc(g->n_roots + 1, sizeof(*order));
	struct report_table *t;
	size_t n = 0;
	int r = order ? 0 : error_oom(m->err);

	for (uint32_t i = 0; r == 0 && i < g->n_roots; i++) {
		const uint32_t members = g->roots[i].members;

		if (members && (!m->wanted || m->wanted[i]))
			order[n++] = (struct root_order){ i, members, m->d.kept[i].bytes };
	}
	if (r < 0 || !n)
		return r;
	qsort(order, n, sizeof(*order), more_first);
	r = report_table(to, "goroutines", columns, ARRAY_SIZE(columns), &t, m->err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_member(m, t, order[i].root);
	return r;
}

static int add_types(struct making *m, struct report *to)
{
	const struct refs_types_row *rows = m->types;
	static const char *const columns[] = { "name", "objects", "bytes", "retained_bytes" };
	struct report_table *t;
	int r = report_table(to, "types", columns, ARRAY_SIZE(columns), &t, m->err);

	for (size_t i = 0; r == 0 && i < m->n_types && i < TYPE_ROWS; i++)
		r = report_row(
			t,
			(struct report_figure[]){ report_cell_text(type_name(m->g, rows[i].type)),
		                                  report_cell_int(rows[i].objects),
		                                  report_cell_int(rows[i].bytes),
		                                  report_cell_int(rows[i].retained) },
			m->err);
	return r;
}

/* The biggest objects, by insertion: there are few rows. */
static size_t find_big(const struct making *m, uint32_t *big)
{
	size_t n = 0;

	for (uint32_t v = 0; v < m->g->n_nodes; v++) {
		uint64_t bytes = object_graph_size(m->g, v);
		size_t at = n;

		if (m->d.tier[v] == UINT8_MAX ||
		    (n == BIG_ROWS && bytes <= object_graph_size(m->g, big[n - 1])))
			continue;
		if (n < BIG_ROWS)
			n++;
		else
			at--;
		while (at && object_graph_size(m->g, big[at - 1]) < bytes) {
			big[at] = big[at - 1];
			at--;
		}
		big[at] = v;
	}
	return n;
}

static int add_big(struct making *m, struct report *to)
{
	static const char *const columns[] = { "address", "type", "bytes", "root" };
	uint32_t big[BIG_ROWS];
	size_t n = find_big(m, big);
	struct report_table *t;
	int r = report_table(to, "big", columns, ARRAY_SIZE(columns), &t, m->err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t top = dominators_top(&m->d, big[i]);
		char address[32], root[TEXT_BYTES];

		snprintf(address, sizeof(address), "0x%" PRIx64, m->g->address[big[i]]);
		if (top >= m->d.n_nodes)
			snprintf(root, sizeof(root), "%s",
			         object_graph_name(m->g, m->g->roots[top - m->d.n_nodes].name));
		else
			shared_name(&m->s, m->g, m->s.set[top], root, sizeof(root));
		r = report_row(t,
		               (struct report_figure[]){
				       report_cell_text(address),
				       report_cell_text(type_name(m->g, m->g->type[big[i]] >> 2)),
				       report_cell_int(object_graph_size(m->g, big[i])),
				       report_cell_text(root) },
		               m->err);
	}
	return r;
}

static int add_objects(struct making *m, struct report *to)
{
	static const char *const columns[] = { "address", "type", "bytes" };
	const struct object_graph *g = m->g;
	struct report_table *t;
	int r = report_table(to, "objects", columns, ARRAY_SIZE(columns), &t, m->err);

	for (uint32_t v = 0; r == 0 && v < g->n_nodes; v++) {
		char address[32];

		if (m->d.tier[v] == UINT8_MAX)
			continue;
		snprintf(address, sizeof(address), "0x%" PRIx64, g->address[v]);
		r = report_row(t,
		               (struct report_figure[]){
				       report_cell_text(address),
				       report_cell_text(object_graph_name(g, g->type[v] >> 2)),
				       report_cell_int(object_graph_size(g, v)) },
		               m->err);
	}
	return r;
}

struct sums {
	uint64_t live_bytes, live_objects, typed_bytes, shape_bytes;
};

static struct sums sum(const struct making *m)
{
	struct sums s = { 0 };

	for (uint32_t v = 0; v < m->g->n_nodes; v++) {
		uint64_t bytes = object_graph_size(m->g, v);

		if (m->d.tier[v] == UINT8_MAX)
			continue;
		s.live_objects++;
		s.live_bytes += bytes;
		if ((m->g->type[v] & 3) != OBJECT_UNTYPED)
			s.typed_bytes += bytes;
		if ((m->g->type[v] & 3) == OBJECT_TYPED_SHAPE)
			s.shape_bytes += bytes;
	}
	return s;
}

static int add_figures(struct making *m, struct report *to)
{
	const struct object_graph *g = m->g;
	struct sums s = sum(m);
	int r = report_text(to, "result", NULL, "refs", m->err);

	if (r == 0)
		r = report_text(to, "runtime", "runtime", g->runtime, m->err);
	if (r == 0 && g->partial)
		r = report_text(to, "partial", "partial:", "what was reached when it was ended",
		                m->err);
	if (r == 0)
		r = report_int(to, "live_bytes", "live", (int64_t)s.live_bytes, "bytes", m->err);
	if (r == 0)
		r = report_int(to, "live_objects", "objects", (int64_t)s.live_objects, "", m->err);
	if (r == 0)
		r = report_int(to, "typed_bytes", "typed", (int64_t)s.typed_bytes, "bytes", m->err);
	if (r == 0)
		r = report_int(to, "shape_typed_bytes", "typed by shape alone",
		               (int64_t)s.shape_bytes, "bytes", m->err);
	if (r == 0)
		r = report_int(to, "garbage_bytes", "unreachable, not swept yet",
		               (int64_t)g->garbage_bytes, "bytes", m->err);
	/* what is not reached may have moved to a holder that was looked at before */
	if (r == 0 && g->is_moving)
		r = report_int(to, "error_bound_bytes", "it ran meanwhile: wrong by at most",
		               (int64_t)(g->changed_bytes + g->garbage_bytes), "bytes", m->err);
	if (r == 0 && g->own_live_bytes)
		r = report_int(to, "own_live_bytes", "the runtime's own count",
		               (int64_t)g->own_live_bytes, "bytes", m->err);
	return r;
}

static int fill(struct making *m)
{
	struct report *to = profile_report(m->to);
	int r = 0;

	if (m->o->view == REFS_TYPES)
		r = add_types_as_samples(m);
	for (size_t i = 0; r == 0 && m->o->view != REFS_TYPES && !m->o->births && i < m->p.n_places;
	     i++)
		r = add_place(m, &m->p.places[i]);
	if (r == 0)
		r = add_figures(m, to);
	if (r == 0 && m->o->births)
		r = refs_births_fill(m->g, &m->p, m->wanted != NULL, m->to, m->err);
	if (r == 0)
		r = add_roots(m, to);
	if (r == 0)
		r = refs_shared_add(m->g, &m->s, m->wanted, to, m->err);
	if (r == 0)
		r = add_members(m, to);
	if (r == 0)
		r = add_types(m, to);
	if (r == 0)
		r = add_big(m, to);
	if (r == 0 && m->o->objects)
		r = add_objects(m, to);
	return r;
}

int refs_profile(const struct object_graph *g, const struct refs_options *o, struct profile **ret,
                 struct error *err)
{
	cleanup(making_clear) struct making m = {
		.g = g, .o = o, .p = { .is_plain = o->is_plain }, .err = err
	};
	int r = choose_roots(&m);

	if (r == 0)
		r = dominators_compute(g, &m.d, err);
	if (r == 0)
		r = refs_types(g, &m.d, &m.types, &m.n_types, err);
	if (r == 0)
		r = shared_compute(g, &m.d, &m.s, err);
	if (r == 0)
		r = refs_held(g, &m.d, err);
	dominators_drop_order(&m.d);
	if (r == 0 && o->view != REFS_TYPES)
		r = paths_compute(g, &m.d, &m.s, o->view, m.wanted, &m.p, err);
	spare_drop();
	if (r == 0)
		r = profile_new(&m.to, value_types, ARRAY_SIZE(value_types), 1, err);
	if (r == 0)
		r = fill(&m);
	if (r < 0)
		return r;
	*ret = take_ptr(m.to);
	return 0;
}
