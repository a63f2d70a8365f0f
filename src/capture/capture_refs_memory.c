/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_refs_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/path.h"

#define MIB (1024.0 * 1024.0)
enum { LINE_BYTES = 512, DETAIL_BYTES = 640 };

void capture_refs_memory_clear(struct capture_refs_memory *m)
{
	ladder_clear(&m->ladder);
	graph_account_clear(&m->account);
	free(m->inside);
	*m = (struct capture_refs_memory){ 0 };
}

void capture_refs_memory_look(const struct target *t, struct capture_refs_memory *to)
{
	const struct symbol_options symbols = { .no_debuginfod = true, .no_inline = true };
	const struct ladder_options options = { 0 };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	struct error why = { 0 };
	int r = symbol_pool_new(&symbols, &pool, &why);

	if (r == 0)
		r = symbol_space_new(pool, t, &space, &why);
	if (r == 0)
		r = ladder_read(t, space, &options, &to->ladder, &why);
	to->has_ladder = r == 0;
	/* one that has ended is told by what needs it */
	if (r < 0 && r != -ESRCH)
		log_note(LOG_WARN, "what is not of the runtime is left out: %s", why.message);
}

/* ---- sums ---- */

static bool is_outside(const struct capture_refs_memory *m, const struct ladder_part *p)
{
	return !m->account.kind || strcmp(p->heap.kind, m->account.kind) != 0;
}

int capture_refs_memory_divide(struct capture_refs_memory *m, struct error *err)
{
	if (!m->account.n_pages || !m->has_ladder)
		return 0;
	m->inside = calloc(m->ladder.n_parts + 1, sizeof(*m->inside));
	if (!m->inside)
		return error_oom(err);
	for (size_t i = 0; i < m->account.n_pages; i++) {
		const struct graph_account_page *p = &m->account.pages[i];
		const struct ladder_range *range = p->is_present ? ladder_find(&m->ladder, p->start)
		                                                 : NULL;

		if (range)
			m->inside[range->part] += p->live + p->garbage;
	}
	return 0;
}

/* Resident bytes of part @i that are not the runtime's. */
static uint64_t rest_of(const struct capture_refs_memory *m, size_t i)
{
	const uint64_t resident = m->ladder.parts[i].resident_bytes;
	const uint64_t inside = m->inside ? m->inside[i] : 0;

	return resident > inside ? resident - inside : 0;
}

static uint64_t outside_bytes(const struct capture_refs_memory *m)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < m->ladder.n_parts; i++) {
		if (is_outside(m, &m->ladder.parts[i]))
			bytes += rest_of(m, i);
	}
	return bytes;
}

static uint64_t inside_bytes(const struct capture_refs_memory *m)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < m->account.n_rows; i++)
		bytes += m->account.rows[i].bytes;
	return bytes;
}

/* "live 539 · garbage 6 · ... MiB" */
static void write_line(const struct capture_refs_memory *m, char *buf, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < m->account.n_rows && used < size; i++) {
		const struct graph_account_row *row = &m->account.rows[i];

		used += (size_t)snprintf(buf + used, size - used, "%s%s %.1f",
		                         i ? " \xc2\xb7 " : "", row->title, row->bytes / MIB);
	}
	if (m->has_ladder && used < size)
		used += (size_t)snprintf(
			buf + used, size - used, " \xc2\xb7 outside %s %.1f \xc2\xb7 together %.1f",
			m->account.title ? m->account.title : "", outside_bytes(m) / MIB,
			(inside_bytes(m) + outside_bytes(m)) / MIB);
	if (used < size)
		snprintf(buf + used, size - used, " MiB%s",
		         m->account.is_resident ? "" : " mapped");
}

static int add_figures(const struct capture_refs_memory *m, struct report *to, struct error *err)
{
	int64_t inside = (int64_t)inside_bytes(m), outside = (int64_t)outside_bytes(m);
	char line[LINE_BYTES] = "";
	int r;

	write_line(m, line, sizeof(line));
	r = report_text(to, "memory_line", m->account.is_resident ? "resident:" : "mapped:", line,
	                err);
	if (r == 0)
		r = report_text(to, "memory_by", NULL,
		                m->account.is_resident ? "resident" : "mapped", err);
	if (r < 0 || !m->has_ladder)
		return r;
	r = report_int(to, "rss_bytes", NULL, (int64_t)m->ladder.resident_bytes, "bytes", err);
	if (r == 0)
		r = report_int(to, "explained_bytes", NULL, inside + outside, "bytes", err);
	if (r == 0)
		r = report_int(to, "outside_bytes", NULL, outside, "bytes", err);
	if (r == 0)
		r = report_int(to, "changed_meanwhile_bytes", NULL,
		               (int64_t)m->ladder.resident_bytes - inside - outside, "bytes", err);
	return r;
}

/* ---- tables ---- */

static int add_memory_row(struct report_table *t, const char *part, uint64_t resident,
                          uint64_t mapped, const char *owner, const char *detail, struct error *err)
{
	return report_row(t,
	                  (struct report_figure[]){
				  report_cell_text(part), report_cell_int((int64_t)resident),
				  report_cell_int((int64_t)mapped), report_cell_text(owner),
				  report_cell_text(detail) },
	                  err);
}

static int by_resident(const void *a, const void *b)
{
	const struct ladder_part *x = *(const struct ladder_part *const *)a;
	const struct ladder_part *y = *(const struct ladder_part *const *)b;

	if (x->resident_bytes != y->resident_bytes)
		return x->resident_bytes > y->resident_bytes ? -1 : 1;
	return (x > y) - (x < y);
}

/* Of a part that holds objects of the runtime: what its allocator calls free, as far as that is
 * known, and the rest: blocks of others, and what is around the runtime's own. */
static int add_divided(const struct capture_refs_memory *m, struct report_table *t,
                       const struct ladder_part *p, struct error *err)
{
	const uint64_t rest = rest_of(m, (size_t)(p - m->ladder.parts));
	const uint64_t in_use = p->heap.in_use_bytes > 0 ? (uint64_t)p->heap.in_use_bytes : 0;
	uint64_t free_bytes = in_use && p->resident_bytes > in_use ? p->resident_bytes - in_use : 0;
	char detail[DETAIL_BYTES];
	int r;

	free_bytes = free_bytes < rest ? free_bytes : rest;
	snprintf(detail, sizeof(detail), "%s: beside %s's objects, and around them", p->heap.name,
	         m->account.title);
	r = add_memory_row(t, p->heap.kind, rest - free_bytes, rest - free_bytes, "outside", detail,
	                   err);
	if (r < 0 || !free_bytes)
		return r;
	snprintf(detail, sizeof(detail), "%s: free", p->heap.name);
	return add_memory_row(t, p->heap.kind, free_bytes, free_bytes, "outside", detail, err);
}

/* What is not the runtime's and is there, the most first. */
static int add_outside(const struct capture_refs_memory *m, struct report_table *t,
                       struct error *err)
{
	cleanup_free const struct ladder_part **parts = calloc(m->ladder.n_parts + 1,
	                                                       sizeof(*parts));
	size_t n = 0;
	int r = 0;

	if (!parts)
		return error_oom(err);
	for (size_t i = 0; i < m->ladder.n_parts; i++) {
		if (is_outside(m, &m->ladder.parts[i]) && m->ladder.parts[i].resident_bytes)
			parts[n++] = &m->ladder.parts[i];
	}
	qsort(parts, n, sizeof(*parts), by_resident);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct ladder_part *p = parts[i];
		char detail[DETAIL_BYTES];

		if (m->inside && m->inside[p - m->ladder.parts]) {
			r = add_divided(m, t, p, err);
			continue;
		}
		snprintf(detail, sizeof(detail), "%s", p->path[0] ? p->path : p->heap.name);
		r = add_memory_row(t, p->heap.kind, p->resident_bytes, p->virtual_bytes, "outside",
		                   detail, err);
	}
	return r;
}

static int add_memory(const struct capture_refs_memory *m, struct report *to, struct error *err)
{
	static const char *const columns[] = { "part", "resident_bytes", "mapped_bytes", "owner",
		                               "detail" };
	struct report_table *t;
	int r = report_table(to, "memory", columns, ARRAY_SIZE(columns), &t, err);

	for (size_t i = 0; r == 0 && i < m->account.n_rows; i++) {
		const struct graph_account_row *row = &m->account.rows[i];

		r = add_memory_row(t, row->key, m->account.is_resident ? row->bytes : 0,
		                   row->mapped_bytes, m->account.kind, row->title, err);
	}
	return r < 0 ? r : add_outside(m, t, err);
}

static int by_waste(const void *a, const void *b)
{
	const struct graph_account_class *x = a, *y = b;

	if (x->wasted_bytes != y->wasted_bytes)
		return x->wasted_bytes > y->wasted_bytes ? -1 : 1;
	return x->object_bytes < y->object_bytes ? -1 : x->object_bytes > y->object_bytes;
}

static int add_fragmentation(const struct capture_refs_memory *m, struct report *to,
                             struct error *err)
{
	static const char *const columns[] = { "object_bytes", "spans", "objects", "in_use_bytes",
		                               "wasted_bytes" };
	struct graph_account_class classes[GRAPH_ACCOUNT_CLASSES];
	struct report_table *t;
	int r = report_table(to, "fragmentation", columns, ARRAY_SIZE(columns), &t, err);

	memcpy(classes, m->account.classes, sizeof(classes));
	qsort(classes, m->account.n_classes, sizeof(*classes), by_waste);
	for (size_t i = 0; r == 0 && i < m->account.n_classes; i++)
		r = report_row(t,
		               (struct report_figure[]){
				       report_cell_int((int64_t)classes[i].object_bytes),
				       report_cell_int((int64_t)classes[i].spans),
				       report_cell_int((int64_t)classes[i].objects),
				       report_cell_int((int64_t)classes[i].in_use_bytes),
				       report_cell_int((int64_t)classes[i].wasted_bytes) },
		               err);
	return r;
}

static int add_checks(const struct capture_refs_memory *m, struct report *to, struct error *err)
{
	static const char *const columns[] = { "key", "value" }, *const one[] = { "text" };
	struct report_table *t;
	int r = report_table(to, "self_check", columns, ARRAY_SIZE(columns), &t, err);

	for (size_t i = 0; r == 0 && i < m->account.n_checks; i++)
		r = report_row(t,
		               (struct report_figure[]){
				       report_cell_text(m->account.checks[i].key),
				       report_cell_int((int64_t)m->account.checks[i].value) },
		               err);
	if (r == 0 && m->account.n_warnings)
		r = report_table(to, "warnings", one, ARRAY_SIZE(one), &t, err);
	for (size_t i = 0; r == 0 && i < m->account.n_warnings; i++) {
		const struct report_figure cell = report_cell_text(m->account.warnings[i]);

		log_note(LOG_WARN, "%s", m->account.warnings[i]);
		r = report_row(t, &cell, err);
	}
	return r;
}

int capture_refs_memory_report(const struct capture_refs_memory *m, struct report *to,
                               struct error *err)
{
	int r = 0;

	if (m->account.n_rows)
		r = add_figures(m, to, err);
	if (r == 0 && m->account.n_rows)
		r = add_memory(m, to, err);
	if (r == 0 && m->account.n_classes)
		r = add_fragmentation(m, to, err);
	if (r == 0 && m->account.note[0])
		r = report_text(to, "self_check_note", "self-check:", m->account.note, err);
	if (r == 0 && m->account.n_checks)
		r = add_checks(m, to, err);
	return r;
}
