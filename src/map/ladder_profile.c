/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "map/ladder.h"

static const struct profile_type types[] = {
	{ "virtual_bytes", "bytes" }, { "resident_bytes", "bytes" }, { "pss_bytes", "bytes" },
	{ "swap_bytes", "bytes" },    { "in_use_bytes", "bytes" },
};
enum { DEFAULT_TYPE = 1, FIGURES_BYTES = 1024 };

/* "dirty_bytes=4096 retained_bytes=0" */
static void write_figures(const struct regions_heap *h, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < h->n_figures && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s=%" PRId64, i ? " " : "",
		                         h->figures[i].key, h->figures[i].value);
}

static struct report_figure number(uint64_t v)
{
	return report_cell_int(v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

static int add_part_row(struct report *to, const struct ladder *l, const struct ladder_part *p,
                        struct error *err)
{
	static const char *const columns[] = {
		"kind",         "name",     "virtual_bytes", "resident_bytes", "in_use_bytes",
		"cached_bytes", "evidence", "swap_bytes",    "pss_bytes",      "reserved_bytes",
		"huge_bytes",   "ranges",   "detail",        "inside",         "unknown_why",
		"figures",      "checked",  "inconsistent",  "path",           "file_bytes",
		"locked_bytes", "pid",
	};
	const struct regions_heap *h = &p->heap;
	char figures[FIGURES_BYTES];
	struct report_table *table;
	const struct report_figure cells[] = {
		report_cell_text(h->kind),
		report_cell_text(h->name),
		number(p->virtual_bytes),
		number(p->resident_bytes),
		report_cell_int(h->in_use_bytes),
		report_cell_int(h->cached_bytes),
		report_cell_text(h->evidence),
		number(p->swap_bytes),
		number(p->pss_bytes),
		number(p->reserved_bytes),
		number(p->huge_bytes),
		number(p->n_ranges),
		report_cell_text(h->detail),
		report_cell_text(h->inside),
		report_cell_text(h->unknown_why),
		report_cell_text(figures),
		number(h->checked),
		number(h->inconsistent),
		report_cell_text(p->path),
		number(p->file_bytes),
		number(p->locked_bytes),
		number((uint64_t)l->pid),
	};
	int r = report_table(to, "parts", columns, ARRAY_SIZE(columns), &table, err);

	_Static_assert(ARRAY_SIZE(columns) == ARRAY_SIZE(cells), "a cell for each column");
	write_figures(h, figures, sizeof(figures));
	return r < 0 ? r : report_row(table, cells, err);
}

static int add_sample(struct profile *p, const struct ladder *l, const struct ladder_part *part,
                      bool label_pid, struct error *err)
{
	const int64_t values[] = {
		(int64_t)part->virtual_bytes,
		(int64_t)part->resident_bytes,
		(int64_t)part->pss_bytes,
		(int64_t)part->swap_bytes,
		part->heap.in_use_bytes > 0 ? part->heap.in_use_bytes : 0,
	};
	struct profile_label label = { .number = l->pid };
	uint32_t frames[2];
	int r = profile_frame_named(p, part->heap.name[0] ? part->heap.name : "(no name)",
	                            &frames[0], err);

	if (r == 0)
		r = profile_frame_named(p, part->heap.kind, &frames[1], err);
	if (r == 0)
		r = profile_string(p, "pid", 3, &label.key, err);
	if (r < 0)
		return r;
	return profile_add(p, frames, 2, &label, label_pid ? 1 : 0, values, err);
}

int ladder_profile_finding(struct report *to, const struct regions_finding *f, struct error *err)
{
	static const char *const columns[] = { "key", "text", "evidence", "remedy", "bytes" };
	const struct report_figure cells[] = { report_cell_text(f->key), report_cell_text(f->text),
		                               report_cell_text(f->evidence),
		                               report_cell_text(f->remedy),
		                               report_cell_int(f->bytes) };
	struct report_table *table;
	int r = report_table(to, "findings", columns, ARRAY_SIZE(columns), &table, err);

	return r < 0 ? r : report_row(table, cells, err);
}

static int add_next(struct report *to, const char *command, struct error *err)
{
	static const char *const columns[] = { "command" };
	const struct report_figure cell = report_cell_text(command);
	struct report_table *table;
	int r = report_table(to, "next", columns, 1, &table, err);

	return r < 0 ? r : report_row(table, &cell, err);
}

static int add_ladder(struct profile *p, const struct ladder *l, bool label_pid, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->n_parts; i++) {
		r = add_sample(p, l, &l->parts[i], label_pid, err);
		if (r == 0)
			r = add_part_row(profile_report(p), l, &l->parts[i], err);
	}
	for (size_t i = 0; r == 0 && i < l->n_findings; i++)
		r = ladder_profile_finding(profile_report(p), &l->findings[i], err);
	return r;
}

/* What all together have. */
static struct ladder total(const struct ladder *ladders, size_t n)
{
	struct ladder t = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct ladder *l = &ladders[i];

		t.virtual_bytes += l->virtual_bytes;
		t.resident_bytes += l->resident_bytes;
		t.unnamed_bytes += l->unnamed_bytes;
		t.swap_bytes += l->swap_bytes;
		t.pss_bytes += l->pss_bytes;
		t.vm_size_bytes += l->vm_size_bytes;
		t.vm_rss_bytes += l->vm_rss_bytes;
		t.page_table_bytes += l->page_table_bytes;
		t.locked_bytes += l->locked_bytes;
		t.hugetlb_bytes += l->hugetlb_bytes;
		t.zero_page_bytes += l->zero_page_bytes;
		t.overlap_bytes += l->overlap_bytes;
		t.stopped_ns += l->stopped_ns;
	}
	return t;
}

static int add_figures(struct report *to, const struct ladder *l, struct error *err)
{
	const struct {
		const char *key, *title;
		int64_t value;
	} figures[] = {
		{ "virtual_bytes", "virtual", (int64_t)l->virtual_bytes },
		{ "resident_bytes", "resident", (int64_t)l->resident_bytes },
		{ "unnamed_bytes", "unnamed", (int64_t)l->unnamed_bytes },
		{ "swap_bytes", "swap", (int64_t)l->swap_bytes },
		{ "pss_bytes", "PSS", (int64_t)l->pss_bytes },
		{ "vm_size_bytes", "VmSize", (int64_t)l->vm_size_bytes },
		{ "vm_rss_bytes", "VmRSS", (int64_t)l->vm_rss_bytes },
		{ "vm_rss_difference_bytes", "counted less VmRSS",
		  (int64_t)(l->resident_bytes - l->vm_rss_bytes) },
		{ "page_table_bytes", "page tables", (int64_t)l->page_table_bytes },
		{ "locked_bytes", "locked", (int64_t)l->locked_bytes },
		{ "hugetlb_bytes", "hugetlb", (int64_t)l->hugetlb_bytes },
		{ "zero_page_bytes", "shared zero page", (int64_t)l->zero_page_bytes },
		{ "overlap_bytes", "claimed twice", (int64_t)l->overlap_bytes },
	};
	int r = report_text(to, "result", NULL, "ladder", err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(figures); i++) {
		if (figures[i].value || i < 3)
			r = report_int(to, figures[i].key, figures[i].title, figures[i].value,
			               "bytes", err);
		else
			r = report_int(to, figures[i].key, NULL, 0, "bytes", err);
	}
	if (r == 0 && l->stopped_ns)
		r = report_double(to, "stopped_seconds", "stopped", (double)l->stopped_ns / 1e9,
		                  "s", err);
	return r;
}

static bool has_kind(const struct ladder *l, const char *kind)
{
	for (size_t i = 0; i < l->n_parts; i++) {
		if (!strcmp(l->parts[i].heap.kind, kind))
			return true;
	}
	return false;
}

/* What to type next; refs is of use where it knows the objects. */
static int add_commands(struct report *to, const struct ladder *l, struct error *err)
{
	static const struct {
		const char *format, *kind;
	} commands[] = {
		{ "memwho map %d -d 30s", NULL },
		{ "memwho alloc %d -d 13s", NULL },
		{ "memwho refs %d", REGIONS_GO },
		{ "memwho %d --watch", NULL },
	};
	char text[64];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(commands); i++) {
		if (commands[i].kind && !has_kind(l, commands[i].kind))
			continue;
		snprintf(text, sizeof(text), commands[i].format, l->pid);
		r = add_next(to, text, err);
	}
	return r;
}

static int add_target(struct report *to, const struct ladder *ladders, size_t n, struct error *err)
{
	char name[128];
	int r = 0;

	if (n == 1)
		snprintf(name, sizeof(name), "%s (%d)", ladders[0].comm, ladders[0].pid);
	else
		snprintf(name, sizeof(name), "%zu processes", n);
	r = report_text(to, "target", NULL, name, err);
	if (r == 0 && n == 1)
		r = report_int(to, "pid", NULL, ladders[0].pid, "", err);
	if (r == 0 && n == 1)
		r = report_int(to, "ns_pid", NULL, ladders[0].ns_pid, "", err);
	return r < 0 || n != 1 ? r : add_commands(to, &ladders[0], err);
}

int ladder_profile(const struct ladder *ladders, size_t n, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct ladder all = total(ladders, n);
	int r = profile_new(&p, types, ARRAY_SIZE(types), DEFAULT_TYPE, err);

	if (r == 0)
		r = add_figures(profile_report(p), &all, err);
	if (r == 0)
		r = add_target(profile_report(p), ladders, n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_ladder(p, &ladders[i], i > 0, err);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}
