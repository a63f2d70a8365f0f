/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_group.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/view.h"

static const struct ladder_row unnamed = {
	.kind = "unnamed",
	.name = "",
	.detail = "",
	.evidence = "",
	.inside = "",
	.unknown_why = "",
	.path = "",
	.figures = "",
	.in_use_bytes = -1,
	.cached_bytes = -1,
};

struct filter {
	regex_t focus, ignore;
	bool has_focus, has_ignore;
};

static void filter_clear(struct filter *f)
{
	if (f->has_focus)
		regfree(&f->focus);
	if (f->has_ignore)
		regfree(&f->ignore);
}

static int filter_make(const struct render_options *o, struct filter *f, struct error *err)
{
	if (o && o->focus) {
		if (regcomp(&f->focus, o->focus, REG_EXTENDED | REG_NOSUB))
			return error_set(err, EINVAL, "%s: no regular expression", o->focus);
		f->has_focus = true;
	}
	if (o && o->ignore) {
		if (regcomp(&f->ignore, o->ignore, REG_EXTENDED | REG_NOSUB))
			return error_set(err, EINVAL, "%s: no regular expression", o->ignore);
		f->has_ignore = true;
	}
	return 0;
}

static bool matches(const regex_t *re, const struct ladder_row *row)
{
	return !regexec(re, row->kind, 0, NULL, 0) || !regexec(re, row->name, 0, NULL, 0);
}

static bool is_wanted(const struct filter *f, const struct ladder_row *row)
{
	return (!f->has_focus || matches(&f->focus, row)) &&
	       (!f->has_ignore || !matches(&f->ignore, row));
}

static int64_t add_known(int64_t sum, int64_t v)
{
	return v < 0 ? sum : view_add(sum < 0 ? 0 : sum, v);
}

static void add_sums(struct ladder_sums *to, const struct ladder_sums *s)
{
	if (!to->n)
		to->in_use_bytes = to->cached_bytes = -1;
	to->n += s->n;
	to->virtual_bytes = view_add(to->virtual_bytes, s->virtual_bytes);
	to->resident_bytes = view_add(to->resident_bytes, s->resident_bytes);
	to->reserved_bytes = view_add(to->reserved_bytes, s->reserved_bytes);
	to->pss_bytes = view_add(to->pss_bytes, s->pss_bytes);
	to->swap_bytes = view_add(to->swap_bytes, s->swap_bytes);
	to->in_use_bytes = add_known(to->in_use_bytes, s->in_use_bytes);
	to->cached_bytes = add_known(to->cached_bytes, s->cached_bytes);
	to->checked = view_add(to->checked, s->checked);
	to->inconsistent = view_add(to->inconsistent, s->inconsistent);
}

struct ladder_sums ladder_group_sums(const struct ladder_row *row)
{
	return (struct ladder_sums){
		.n = 1,
		.virtual_bytes = row->virtual_bytes,
		.resident_bytes = row->resident_bytes,
		.reserved_bytes = row->reserved_bytes,
		.pss_bytes = row->pss_bytes,
		.swap_bytes = row->swap_bytes,
		.in_use_bytes = row->in_use_bytes,
		.cached_bytes = row->cached_bytes,
		.checked = row->checked,
		.inconsistent = row->inconsistent,
	};
}

static int by_key(const void *a, const void *b)
{
	const struct ladder_entry *x = a, *y = b;
	int r = strcmp(x->row->kind, y->row->kind);

	if (!r)
		r = strcmp(x->row->name, y->row->name);
	if (!r)
		r = (x->row->virtual_bytes < y->row->virtual_bytes) -
		    (x->row->virtual_bytes > y->row->virtual_bytes);
	return r ? r : (x->row > y->row) - (x->row < y->row);
}

static int compare_sums(const struct ladder_sums *x, const struct ladder_sums *y)
{
	if (x->virtual_bytes != y->virtual_bytes)
		return x->virtual_bytes < y->virtual_bytes ? 1 : -1;
	if (x->resident_bytes != y->resident_bytes)
		return x->resident_bytes < y->resident_bytes ? 1 : -1;
	return (x->in_use_bytes < y->in_use_bytes) - (x->in_use_bytes > y->in_use_bytes);
}

/* Of entries what is touched counts: a 2 MiB library is mostly nothing. */
static int by_touched(const void *a, const void *b)
{
	const struct ladder_entry *x = a, *y = b;
	int r;

	if (x->sums.resident_bytes != y->sums.resident_bytes)
		return x->sums.resident_bytes < y->sums.resident_bytes ? 1 : -1;
	r = compare_sums(&x->sums, &y->sums);
	return r ? r : strcmp(x->row->name, y->row->name);
}

static int by_size(const void *a, const void *b)
{
	const struct ladder_group *x = a, *y = b;
	bool ux = !strcmp(x->kind, unnamed.kind), uy = !strcmp(y->kind, unnamed.kind);
	int r;

	if (ux != uy)
		return ux ? 1 : -1;
	r = compare_sums(&x->sums, &y->sums);
	return r ? r : strcmp(x->kind, y->kind);
}

/* Entries in order of kind and name: equal ones become one. Returns how many. */
static size_t merge_entries(struct ladder_entry *e, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		struct ladder_sums s = ladder_group_sums(e[i].row);

		if (!out || strcmp(e[out - 1].row->kind, e[i].row->kind) != 0 ||
		    strcmp(e[out - 1].row->name, e[i].row->name) != 0)
			e[out++] = (struct ladder_entry){ .row = e[i].row };
		add_sums(&e[out - 1].sums, &s);
	}
	return out;
}

static void add_to_group(struct ladder_groups *g, struct ladder_entry *e)
{
	struct ladder_group *last = g->n ? &g->groups[g->n - 1] : NULL;

	if (!last || strcmp(last->kind, e->row->kind) != 0) {
		last = &g->groups[g->n++];
		*last = (struct ladder_group){
			.kind = e->row->kind, .entries = e, .is_inside = true, .unknown_why = ""
		};
	}
	last->n_entries++;
	last->is_inside &= e->row->inside[0] != '\0';
	if (e->row->unknown_why[0])
		last->unknown_why = e->row->unknown_why;
	add_sums(&last->sums, &e->sums);
}

static void make_groups(struct ladder_groups *g, size_t n)
{
	qsort(g->entries, n, sizeof(*g->entries), by_key);
	n = merge_entries(g->entries, n);
	for (size_t i = 0; i < n; i++)
		add_to_group(g, &g->entries[i]);
	for (size_t i = 0; i < g->n; i++)
		qsort(g->groups[i].entries, g->groups[i].n_entries, sizeof(*g->entries),
		      by_touched);
	qsort(g->groups, g->n, sizeof(*g->groups), by_size);
}

int ladder_group_make(const struct profile *p, const struct render_options *o,
                      struct ladder_groups *ret, struct error *err)
{
	cleanup(ladder_group_clear) struct ladder_groups g = { 0 };
	cleanup(filter_clear) struct filter f = { 0 };
	bool has_unnamed = false;
	size_t n = 0;
	int r = ladder_rows_make(p, &g.rows, err);

	if (r == 0)
		r = filter_make(o, &f, err);
	if (r < 0)
		return r;
	g.entries = calloc(g.rows.n + 1, sizeof(*g.entries));
	g.groups = calloc(g.rows.n + 1, sizeof(*g.groups));
	if (!g.entries || !g.groups)
		return error_oom(err);
	for (size_t i = 0; i < g.rows.n; i++) {
		if (is_wanted(&f, &g.rows.items[i]))
			g.entries[n++].row = &g.rows.items[i];
		has_unnamed |= !strcmp(g.rows.items[i].kind, unnamed.kind);
	}
	if (!has_unnamed)
		g.entries[n++].row = &unnamed;
	make_groups(&g, n);
	*ret = g;
	g = (struct ladder_groups){ 0 };
	return 0;
}

void ladder_group_clear(struct ladder_groups *g)
{
	ladder_rows_clear(&g->rows);
	free(g->entries);
	free(g->groups);
	*g = (struct ladder_groups){ 0 };
}

int64_t ladder_group_figure(const struct ladder_groups *all, const struct ladder_group *g,
                            const char *key)
{
	int64_t sum = -1, value;
	char name[64];

	for (size_t i = 0; i < all->rows.n; i++) {
		const char *pos = all->rows.items[i].figures;

		if (strcmp(all->rows.items[i].kind, g->kind) != 0)
			continue;
		while (ladder_rows_figure(&pos, name, sizeof(name), &value)) {
			if (!strcmp(name, key))
				sum = add_known(sum, value);
		}
	}
	return sum;
}
