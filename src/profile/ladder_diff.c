/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/ladder_diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/ladder_explain.h"
#include "profile/samples.h"
#include "profile/transform.h"

/* ---- rows */

struct tagged {
	const struct ladder_row *row;
	bool is_after;
};

static int by_key(const void *a, const void *b)
{
	const struct tagged *x = a, *y = b;
	int r = strcmp(x->row->kind, y->row->kind);

	if (!r)
		r = strcmp(x->row->name, y->row->name);
	if (!r)
		r = x->is_after - y->is_after;
	return r ? r : (x->row > y->row) - (x->row < y->row);
}

static void add_row(struct ladder_diff_side *to, const struct ladder_row *row)
{
	if (!to->n++)
		to->in_use_bytes = -1;
	to->virtual_bytes = samples_sum(to->virtual_bytes, row->virtual_bytes);
	to->resident_bytes = samples_sum(to->resident_bytes, row->resident_bytes);
	if (row->in_use_bytes >= 0)
		to->in_use_bytes = samples_sum(to->in_use_bytes < 0 ? 0 : to->in_use_bytes,
		                               row->in_use_bytes);
	if (!to->row || row->virtual_bytes > to->row->virtual_bytes)
		to->row = row;
}

/* None of these is negative: no overflow. */
int64_t ladder_diff_virtual(const struct ladder_change *c)
{
	return c->after.virtual_bytes - c->before.virtual_bytes;
}

int64_t ladder_diff_resident(const struct ladder_change *c)
{
	return c->after.resident_bytes - c->before.resident_bytes;
}

static int by_change(const void *a, const void *b)
{
	const struct ladder_change *x = a, *y = b;
	int64_t vx = llabs(ladder_diff_virtual(x)), vy = llabs(ladder_diff_virtual(y));
	int64_t rx = llabs(ladder_diff_resident(x)), ry = llabs(ladder_diff_resident(y));
	int r;

	if (vx != vy)
		return vx < vy ? 1 : -1;
	if (rx != ry)
		return rx < ry ? 1 : -1;
	r = strcmp(x->kind, y->kind);
	return r ? r : strcmp(x->name, y->name);
}

static size_t join(const struct tagged *rows, size_t n, struct ladder_change *to)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		const struct ladder_row *row = rows[i].row;

		if (!out || strcmp(to[out - 1].kind, row->kind) != 0 ||
		    strcmp(to[out - 1].name, row->name) != 0)
			to[out++] = (struct ladder_change){ .kind = row->kind, .name = row->name };
		add_row(rows[i].is_after ? &to[out - 1].after : &to[out - 1].before, row);
	}
	return out;
}

int ladder_diff_rows(const struct ladder_rows *before, const struct ladder_rows *after,
                     struct ladder_changes *ret, struct error *err)
{
	size_t n = before->n + after->n;
	cleanup_free struct tagged *rows = calloc(n + 1, sizeof(*rows));
	struct ladder_change *items = calloc(n + 1, sizeof(*items));

	if (!rows || !items) {
		free(items);
		return error_oom(err);
	}
	for (size_t i = 0; i < before->n; i++)
		rows[i].row = &before->items[i];
	for (size_t i = 0; i < after->n; i++)
		rows[before->n + i] = (struct tagged){ &after->items[i], true };
	qsort(rows, n, sizeof(*rows), by_key);
	n = join(rows, n, items);
	qsort(items, n, sizeof(*items), by_change);
	*ret = (struct ladder_changes){ items, n };
	return 0;
}

void ladder_diff_clear(struct ladder_changes *c)
{
	free(c->items);
	*c = (struct ladder_changes){ 0 };
}

/* ---- tables */

static int64_t known(const struct ladder_diff_side *s)
{
	return s->n ? s->in_use_bytes : -1;
}

static int add_difference(struct report *to, const struct ladder_change *c, struct error *err)
{
	static const char *const columns[] = {
		"kind",
		"name",
		"before_rows",
		"after_rows",
		"virtual_before_bytes",
		"virtual_after_bytes",
		"resident_before_bytes",
		"resident_after_bytes",
		"in_use_before_bytes",
		"in_use_after_bytes",
		"detail",
	};
	/* of what is in one of the two only, one can say more than its name */
	const struct ladder_row *only = !c->before.n  ? c->after.row
	                                : !c->after.n ? c->before.row
	                                              : NULL;
	const struct report_figure cells[] = {
		report_cell_text(c->kind),
		report_cell_text(c->name),
		report_cell_int((int64_t)c->before.n),
		report_cell_int((int64_t)c->after.n),
		report_cell_int(c->before.virtual_bytes),
		report_cell_int(c->after.virtual_bytes),
		report_cell_int(c->before.resident_bytes),
		report_cell_int(c->after.resident_bytes),
		report_cell_int(known(&c->before)),
		report_cell_int(known(&c->after)),
		report_cell_text(only ? only->detail : ""),
	};
	struct report_table *t;
	int r = report_table(to, "differences", columns, ARRAY_SIZE(columns), &t, err);

	return r < 0 ? r : report_row(t, cells, err);
}

static bool is_equal(const struct ladder_change *c)
{
	return c->before.n == c->after.n && !ladder_diff_virtual(c) && !ladder_diff_resident(c) &&
	       known(&c->before) == known(&c->after);
}

static const char *setting(const struct report_table *t, const char *key)
{
	for (size_t i = 0; i < t->n_rows; i++) {
		if (!strcmp(ladder_rows_text(t, i, "key"), key))
			return ladder_rows_text(t, i, "value");
	}
	return NULL;
}

static int add_setting(struct report *to, const char *key, const char *before, const char *after,
                       struct error *err)
{
	static const char *const columns[] = { "key", "before", "after" };
	const struct report_figure cells[] = { report_cell_text(key),
		                               report_cell_text(before ? before : ""),
		                               report_cell_text(after ? after : "") };
	struct report_table *t;
	int r = report_table(to, "settings", columns, ARRAY_SIZE(columns), &t, err);

	return r < 0 ? r : report_row(t, cells, err);
}

/* Where one side's are not known nothing can be said to differ. */
static int add_settings(struct report *to, const struct report *before, const struct report *after,
                        struct error *err)
{
	const struct report_table *b = ladder_rows_table(before, "settings");
	const struct report_table *a = ladder_rows_table(after, "settings");
	int r = 0;

	if (!a || !b)
		return 0;
	for (size_t i = 0; r == 0 && i < b->n_rows; i++) {
		const char *key = ladder_rows_text(b, i, "key"), *now = setting(a, key);

		if (!now || strcmp(now, ladder_rows_text(b, i, "value")) != 0)
			r = add_setting(to, key, ladder_rows_text(b, i, "value"), now, err);
	}
	for (size_t i = 0; r == 0 && i < a->n_rows; i++) {
		const char *key = ladder_rows_text(a, i, "key");

		if (!setting(b, key))
			r = add_setting(to, key, NULL, ladder_rows_text(a, i, "value"), err);
	}
	return r;
}

/* ---- figures */

static int copy_total(struct report *to, const struct profile *from, const char *side,
                      const char *key, struct error *err)
{
	char name[96];

	snprintf(name, sizeof(name), "%s_%s", side, key);
	return report_int(to, name, name, ladder_rows_total(from, key, 0), "bytes", err);
}

static int add_side(struct report *to, const struct profile *from, const char *side,
                    struct error *err)
{
	static const char *const keys[] = { "virtual_bytes", "resident_bytes", "unnamed_bytes",
		                            "pss_bytes" };
	const struct report_figure *target = report_get(profile_report_const(from), "target");
	char name[96];
	int r;

	snprintf(name, sizeof(name), "%s_target", side);
	r = report_text(to, name, NULL, target && target->kind == REPORT_TEXT ? target->text : "",
	                err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keys); i++)
		r = copy_total(to, from, side, keys[i], err);
	return r;
}

static int add_tables(struct report *to, const struct profile *before, const struct profile *after,
                      struct error *err)
{
	cleanup(ladder_rows_clear) struct ladder_rows b = { 0 }, a = { 0 };
	cleanup(ladder_diff_clear) struct ladder_changes changes = { 0 };
	int r = ladder_rows_make(before, &b, err);

	if (r == 0)
		r = ladder_rows_make(after, &a, err);
	if (r == 0)
		r = ladder_diff_rows(&b, &a, &changes, err);
	for (size_t i = 0; r == 0 && i < changes.n; i++) {
		if (!is_equal(&changes.items[i]))
			r = add_difference(to, &changes.items[i], err);
	}
	if (r == 0)
		r = add_settings(to, profile_report_const(before), profile_report_const(after),
		                 err);
	return r < 0 ? r : ladder_explain_add(to, &changes, err);
}

int ladder_diff_profile(const struct profile *before, const struct profile *after, const char *type,
                        struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct report *to;
	int r = transform_diff(before, after, type ? type : "virtual_bytes", &p, err);

	if (r < 0)
		return r;
	to = profile_report(p);
	r = report_text(to, "result", NULL, "ladder-diff", err);
	if (r == 0)
		r = add_side(to, before, "before", err);
	if (r == 0)
		r = add_side(to, after, "after", err);
	if (r == 0)
		r = add_tables(to, before, after, err);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}

bool ladder_diff_is(const struct profile *p)
{
	const struct report_figure *f = report_get(profile_report_const(p), "result");

	return f && f->kind == REPORT_TEXT && f->text && !strcmp(f->text, "ladder-diff");
}
