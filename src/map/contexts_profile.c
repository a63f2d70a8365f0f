/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/contexts.h"

enum { MAX_LABELS = 3 };

static const struct profile_type types[] = {
	{ "total_bytes", "bytes" },
	{ "used_bytes", "bytes" },
	{ "free_bytes", "bytes" },
};

struct sums {
	int64_t total, used, free;
};

static int label(struct profile *p, struct profile_label *l, const char *key, const char *text,
                 int64_t number, struct error *err)
{
	int r = profile_string(p, key, strlen(key), &l->key, err);

	l->number = number;
	return r < 0 || !text ? r : profile_string(p, text, strlen(text), &l->text, err);
}

static int labels_of(struct profile *p, const struct contexts_process *c, struct profile_label *l,
                     size_t *n, struct error *err)
{
	int r = label(p, &l[(*n)++], "pid", NULL, c->pid, err);

	if (r == 0 && c->kind[0])
		r = label(p, &l[(*n)++], "backend_type", c->kind, 0, err);
	if (r == 0 && c->leader)
		r = label(p, &l[(*n)++], "leader", NULL, c->leader, err);
	return r;
}

/* The chain of names from @at to its root, leaf first. */
static int chain_of(struct profile *p, const struct runtime_pools *pools, uint32_t at,
                    uint32_t *frames, size_t *n, struct error *err)
{
	for (*n = 0; at != UINT32_MAX && *n < PROFILE_MAX_FRAMES; at = pools->items[at].parent) {
		int r = profile_frame_named(p, pools->items[at].name, &frames[*n], err);

		if (r < 0)
			return r;
		(*n)++;
	}
	return 0;
}

static int add_samples(struct profile *p, const struct contexts_process *c, struct error *err)
{
	cleanup_free uint32_t *frames = malloc(PROFILE_MAX_FRAMES * sizeof(*frames));
	struct profile_label labels[MAX_LABELS] = { 0 };
	size_t n_labels = 0, n;
	int r;

	if (!frames)
		return error_oom(err);
	r = labels_of(p, c, labels, &n_labels, err);
	for (size_t i = 0; i < c->pools.n && r == 0; i++) {
		const struct runtime_pool *x = &c->pools.items[i];
		const int64_t values[] = { x->total_bytes, x->used_bytes, x->free_bytes };

		r = chain_of(p, &c->pools, i, frames, &n, err);
		if (r == 0)
			r = profile_add(p, frames, n, labels, n_labels, values, err);
	}
	return r;
}

/* Names from the root, '/' between them. @path grows as the deepest chain asks for. */
static int path_of(const struct runtime_pools *pools, uint32_t at, char **path, size_t *cap,
                   struct error *err)
{
	size_t len = 0, end;
	int r;

	for (uint32_t i = at; i != UINT32_MAX; i = pools->items[i].parent)
		len += strlen(pools->items[i].name) + 1;
	r = array_reserve(path, cap, len, err);
	if (r < 0)
		return r;
	end = len - 1;
	(*path)[end] = '\0';
	for (uint32_t i = at; i != UINT32_MAX; i = pools->items[i].parent) {
		const size_t n = strlen(pools->items[i].name);

		end -= n;
		memcpy(*path + end, pools->items[i].name, n);
		if (end)
			(*path)[--end] = '/';
	}
	return 0;
}

static int add_rows(struct report_table *t, const struct contexts_process *c, struct sums *sums,
                    struct error *err)
{
	cleanup_free char *path = NULL;
	size_t cap = 0;
	int r = 0;

	for (size_t i = 0; i < c->pools.n && r == 0; i++) {
		const struct runtime_pool *x = &c->pools.items[i];

		r = path_of(&c->pools, i, &path, &cap, err);
		if (r < 0)
			return r;
		r = report_row(t,
		               (struct report_figure[]){
				       report_cell_text(path), report_cell_text(x->name),
				       report_cell_text(x->ident), report_cell_text(x->class_name),
				       report_cell_int(x->level), report_cell_int(x->total_bytes),
				       report_cell_int(x->used_bytes),
				       report_cell_int(x->free_bytes), report_cell_int(x->blocks),
				       report_cell_int(x->free_chunks), report_cell_int(c->pid) },
		               err);
		sums->total += x->total_bytes;
		sums->used += x->used_bytes;
		sums->free += x->free_bytes;
	}
	return r;
}

static int add_contexts(struct report *report, const struct contexts_process *c, struct sums *sums,
                        struct error *err)
{
	static const char *const columns[] = { "path",   "name",        "ident",      "class",
		                               "level",  "total_bytes", "used_bytes", "free_bytes",
		                               "blocks", "free_chunks", "pid" };
	struct report_table *t;
	int r = report_table(report, "contexts", columns, ARRAY_SIZE(columns), &t, err);

	return r < 0 ? r : add_rows(t, c, sums, err);
}

static int add_process(struct report *report, const struct contexts_process *c,
                       const struct sums *sums, struct error *err)
{
	static const char *const columns[] = { "pid",        "process",      "leader",
		                               "contexts",   "total_bytes",  "used_bytes",
		                               "free_bytes", "parked_bytes", "outside_bytes",
		                               "stopped_us" };
	struct report_table *t;
	int r = report_table(report, "processes", columns, ARRAY_SIZE(columns), &t, err);

	if (r < 0)
		return r;
	return report_row(
		t,
		(struct report_figure[]){ report_cell_int(c->pid), report_cell_text(c->kind),
	                                  report_cell_int(c->leader), report_cell_int(c->pools.n),
	                                  report_cell_int(sums->total), report_cell_int(sums->used),
	                                  report_cell_int(sums->free),
	                                  report_cell_int(c->pools.parked_bytes),
	                                  report_cell_int(c->outside_bytes),
	                                  report_cell_int(c->pools.stopped_ns / 1000) },
		err);
}

/* One process: its own figures, too. A figure that is not proven is not there. */
static int add_figures(struct report *r, const struct contexts_process *c, struct error *err)
{
	int e = report_int(r, "pid", NULL, c->pid, "", err);

	if (e == 0)
		e = report_text(r, "process", NULL, c->comm, err);
	if (e == 0 && c->kind[0])
		e = report_text(r, "backend_type", NULL, c->kind, err);
	if (e == 0 && c->outside_bytes >= 0)
		e = report_int(r, "outside_bytes", "malloc outside contexts", c->outside_bytes,
		               "bytes", err);
	if (e == 0 && c->pools.parked_bytes >= 0)
		e = report_int(r, "parked_bytes", "deleted contexts kept for reuse",
		               c->pools.parked_bytes, "bytes", err);
	if (e == 0 && c->malloc_bytes >= 0)
		e = report_int(r, "malloc_in_use_bytes", "malloc in use", c->malloc_bytes, "bytes",
		               err);
	return e;
}

static int add_totals(struct report *r, const struct sums *all, size_t n_contexts,
                      uint64_t stopped_ns, struct error *err)
{
	int e = report_int(r, "n_contexts", NULL, (int64_t)n_contexts, "", err);

	if (e == 0)
		e = report_int(r, "total_bytes", NULL, all->total, "bytes", err);
	if (e == 0)
		e = report_int(r, "used_bytes", NULL, all->used, "bytes", err);
	if (e == 0)
		e = report_int(r, "free_bytes", NULL, all->free, "bytes", err);
	if (e == 0 && stopped_ns)
		e = report_double(r, "stopped_seconds", "stopped for", stopped_ns / 1e9, "s", err);
	return e;
}

int contexts_profile(const struct contexts_process *processes, size_t n, struct profile **ret,
                     struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct report *report;
	struct sums all = { 0 };
	size_t n_contexts = 0;
	uint64_t stopped_ns = 0;
	int r = profile_new(&p, types, ARRAY_SIZE(types), 0, err);

	if (r < 0)
		return r;
	report = profile_report(p);
	r = report_text(report, "result", NULL, "contexts", err);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct sums one = { 0 };

		r = add_samples(p, &processes[i], err);
		if (r == 0)
			r = add_contexts(report, &processes[i], &one, err);
		if (r == 0)
			r = add_process(report, &processes[i], &one, err);
		all.total += one.total;
		all.used += one.used;
		all.free += one.free;
		n_contexts += processes[i].pools.n;
		stopped_ns += processes[i].pools.stopped_ns;
	}
	if (r == 0)
		r = add_totals(report, &all, n_contexts, stopped_ns, err);
	if (r == 0 && n == 1)
		r = add_figures(report, &processes[0], err);
	if (r == 0)
		*ret = take_ptr(p);
	return r;
}
