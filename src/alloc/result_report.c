/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_profile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alloc/before.h"
#include "alloc/result_by_code.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "unwind/stack_frames.h"

struct row {
	const char *key, *title;
	int64_t value;
	const char *unit;
};

static int put_rows(struct report *to, const struct row *rows, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		/* a figure that says "nothing of the kind" is for scripts only */
		int r = report_int(to, rows[i].key, rows[i].value ? rows[i].title : NULL,
		                   rows[i].value, rows[i].unit, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Share of allocations whose stack was walked to its start. */
static double complete_percent(const struct alloc_recorder *r)
{
	const struct bpf_tables *tables = engine_bpf_tables(r->engine);
	u64 all = 0, complete = 0;

	for (u32 id = 1; id < bpf_tables_n_stacks(tables); id++) {
		const struct stack_record *s = bpf_tables_stack(tables, id);

		struct tracee *t = s ? recorder_tracee(r, s->slot) : NULL;

		if (!t)
			continue; /* the calibration's */
		all += s->alloc_objects;
		if (stack_frames_is_complete(tracee_history(t), tables, s))
			complete += s->alloc_objects;
	}
	all += engine_bpf_counters(r->engine)->stack_full;
	return all ? 100.0 * (double)complete / (double)all : 100;
}

static int put_losses(struct alloc_recorder *r, const struct alloc_counters *c, struct report *to,
                      struct error *err)
{
	int64_t lost = c->table_full + c->stash_full + c->resets_full + c->busy + c->bad_address +
	               c->event_lost + c->bad_read + r->lost_events;
	const struct row rows[] = {
		{ "lost_events", NULL, lost, "" },
		{ "lost_bytes", "not recorded, table full", c->table_full_bytes, "bytes" },
		{ "lost_table_full", NULL, c->table_full, "" },
		{ "lost_calls", "calls not followed", c->stash_full + c->busy, "" },
		{ "replaced_blocks", "blocks whose free was not seen", c->replaced, "" },
		{ "lost_resets", "resets not recorded", c->resets_full, "" },
		{ "lost_unreadable", "plans that could not read memory", c->bad_read, "" },
		{ "stacks_not_stored", "stacks not stored, table full", c->stack_full, "" },
		{ "stacks_too_deep", "stacks cut at 512 frames", c->stops[UNWIND_STOP_DEEP], "" },
		{ "stacks_unreadable", NULL, c->stops[UNWIND_STOP_BAD_STACK], "" },
		{ "stacks_without_table", NULL, c->stops[UNWIND_STOP_NO_TABLE], "" },
		{ "stacks_in_unknown_module", NULL, c->stops[UNWIND_STOP_NO_MODULE], "" },
		{ "modules_without_table", "modules without unwind table",
		  r->modules.n_without_table, "" },
		{ "functions_followed",
		  "functions unwound by their code, without frame information",
		  r->modules.n_followed, "" },
		{ "late_modules", "modules that could not be added", r->late_modules, "" },
		{ "lost_children", "children not recorded", r->lost_children, "" },
	};

	return put_rows(to, rows, ARRAY_SIZE(rows), err);
}

static int put_calls(const struct alloc_counters *c, struct report *to, struct error *err)
{
	const struct row rows[] = {
		{ "allocations", NULL, c->allocs + c->reallocs - c->failed, "" },
		{ "allocated_bytes", "allocated", c->alloc_bytes, "bytes" },
		{ "frees", NULL, c->frees, "" },
		{ "freed_bytes", "freed", c->free_bytes, "bytes" },
		{ "freed_older_objects", NULL, c->older_frees, "" },
		{ "freed_older_bytes", "freed of what was there before", c->older_free_bytes,
		  "bytes" },
		{ "freed_older_unsized", NULL, c->older_free_unsized, "" },
		{ "reallocations", NULL, c->reallocs, "" },
		{ "context_resets", NULL, c->resets, "" },
		{ "failed_allocations", "failed allocations", c->failed, "" },
		{ "internal_calls", NULL, c->internal, "" },
		{ "abandoned_calls", NULL, c->dead_stash, "" },
		{ "probe_hits", NULL, c->hits, "" },
		{ "trampolines_resolved", NULL, c->trampolines, "" },
	};

	return put_rows(to, rows, ARRAY_SIZE(rows), err);
}

/* The longest that a followed child ran before it was recorded. */
static double late_seconds(const struct alloc_recorder *r)
{
	u64 late = 0;

	for (size_t i = 0; i < r->n_tracees; i++)
		late = r->tracees[i]->late_ns > late ? r->tracees[i]->late_ns : late;
	return (double)late / 1e9;
}

static int put_cost(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	int rc = report_double(to, "estimated_slowdown", "slowdown", guard_slowdown(&r->guard), "x",
	                       err);

	if (rc == 0)
		rc = report_double(to, "counted_slowdown", NULL, r->guard.estimate, "x", err);
	if (rc == 0)
		rc = report_double(to, "worst_slowdown", NULL, r->guard.worst, "x", err);
	if (rc == 0)
		rc = report_double(to, "probe_entry_ns", NULL, r->guard.costs.entry, "ns", err);
	if (rc == 0)
		rc = report_double(to, "probe_allocation_ns", NULL, r->guard.costs.allocation, "ns",
		                   err);
	if (rc == 0)
		rc = report_double(to, "probe_frame_ns", NULL, r->guard.costs.frame, "ns", err);
	if (rc == 0)
		rc = report_double(to, "children_joined_after_seconds",
		                   late_seconds(r) > 0 ? "children recorded from up to this after "
		                                         "their start"
		                                       : NULL,
		                   late_seconds(r), "s", err);
	if (rc == 0)
		rc = report_double(to, "attach_seconds", NULL, r->attach_seconds, "s", err);
	if (rc == 0)
		rc = report_double(to, "detach_seconds", NULL, r->detach_seconds, "s", err);
	if (rc == 0)
		rc = report_double(to, "memwho_cpu_seconds", NULL,
		                   (double)clock_self_cpu_ns() / 1e9, "s", err);
	return rc;
}

static int put_gap(struct report_table *table, const struct tracee *t, const char *name,
                   const char *reason, struct error *err)
{
	const struct report_figure cells[] = {
		report_cell_int(t->pid),
		report_cell_text(name),
		report_cell_text(reason),
	};

	return report_row(table, cells, err);
}

/* Allocator functions that exist and are not recorded. */
static int put_gaps(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	static const char *const columns[] = { "pid", "function", "reason" };
	struct report_table *table = NULL;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		const struct tracee *t = r->tracees[i];

		for (size_t k = 0; rc == 0 && k < t->probes.n_gaps; k++) {
			rc = report_table(to, "not_covered", columns, ARRAY_SIZE(columns), &table,
			                  err);
			if (rc == 0)
				rc = put_gap(table, t, t->probes.gaps[k].name,
				             t->probes.gaps[k].reason, err);
		}
		for (size_t k = 0; rc == 0 && t->no_throwing && k < t->probes.n_probes; k++) {
			if (!(t->probes.probes[k].code.flags & PLAN_THROWS))
				continue;
			rc = report_table(to, "not_covered", columns, ARRAY_SIZE(columns), &table,
			                  err);
			if (rc == 0)
				rc = put_gap(table, t, t->probes.probes[k].name, t->throw_reason,
				             err);
		}
	}
	return rc;
}

static int put_allocators(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	char text[256] = "";
	size_t used = 0;
	int64_t probes = 0, stepped = 0, sessions = 0;

	for (size_t i = 0; i < r->n_tracees; i++) {
		const struct tracee *t = r->tracees[i];

		for (size_t k = 0; k < t->n_runtimes; k++) {
			if (strstr(text, t->runtimes[k]->name) || used >= sizeof(text) - 1)
				continue;
			used += snprintf(text + used, sizeof(text) - used, "%s%s", used ? "," : "",
			                 t->runtimes[k]->name);
		}
		probes += t->probes.n_probes;
		sessions += t->n_session_probes;
		for (size_t k = 0; k < t->probes.n_probes; k++)
			stepped += t->probes.probes[k].single_stepped;
	}
	const struct row rows[] = {
		{ "probes", NULL, probes, "" },
		{ "probes_single_stepped", "probes on slow instructions", stepped, "" },
		{ "session_probes", "sessions on operator new: forked children pay until detach",
		  sessions, "" },
	};
	int rc = report_text(to, "allocators", "allocators", text, err);

	if (rc == 0)
		rc = result_by_code_put(r, to, err);
	return rc < 0 ? rc : put_rows(to, rows, ARRAY_SIZE(rows), err);
}

/* Contexts' own account of the window against what was traced. */
static int put_account(struct alloc_recorder *r, const struct recorder_groups *groups,
                       struct report *to, struct error *err)
{
	struct tracee *t = r->tracees[0];
	struct runtime_view view = { t->target, t->space };
	u64 used = 0, held = 0;
	struct error ignored;
	bool has = false;

	if (r->n_tracees != 1 || !t->has_used_before || t->ended)
		return 0;
	for (size_t i = 0; i < t->n_runtimes && !has; i++) {
		if (t->runtimes[i]->used_bytes)
			has = t->runtimes[i]->used_bytes(&view, &used, &ignored) == 0;
	}
	if (!has)
		return 0;
	for (size_t i = 0; i < groups->n_items; i++)
		held += groups->items[i].context ? groups->items[i].bytes : 0;
	const struct row rows[] = {
		{ "contexts_used_bytes", NULL, used, "bytes" },
		{ "contexts_grew_bytes", "contexts grew by", (int64_t)(used - t->used_before),
		  "bytes" },
		{ "contexts_traced_bytes", "traced in contexts", (int64_t)held, "bytes" },
		{ "contexts_difference_bytes", "headers, nodes and older blocks",
		  (int64_t)(used - t->used_before - held), "bytes" },
	};
	return put_rows(to, rows, ARRAY_SIZE(rows), err);
}

static int put_target(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	const struct tracee *t = r->tracees[0];
	char text[256];
	int rc;

	if (r->n_tracees == 1)
		snprintf(text, sizeof(text), "%s (%d)", t->command, t->pid);
	else
		snprintf(text, sizeof(text), "%s (%d) and %zu more", t->command, t->pid,
		         r->n_tracees - 1);
	rc = report_text(to, "target", NULL, text, err);
	return rc < 0 ? rc : report_int(to, "pid", NULL, t->pid, "", err);
}

static int put_head(struct alloc_recorder *r, const struct recorder_groups *groups,
                    enum alloc_ended ended, const struct alloc_filter *filter, struct report *to,
                    struct error *err)
{
	double seconds = (double)(groups->taken_ns - r->begun_ns) / 1e9;
	double low, high;
	const struct row peak = { "peak_held_bytes", "most held at once", r->peak_held, "bytes" };
	int rc = put_target(r, to, err);

	if (rc == 0)
		rc = report_double(to, "duration_seconds", NULL, seconds, "s", err);
	if (rc == 0)
		rc = report_int(to, "held_bytes", NULL, groups->bytes, "bytes", err);
	if (rc == 0 && r->weighted) {
		interval_of(&groups->estimated_bytes, &low, &high);
		rc = put_rows(
			to,
			(const struct row[]){ { "held_bytes_low", NULL, llround(low), "bytes" },
		                              { "held_bytes_high", NULL, llround(high), "bytes" },
		                              { "samples_held", "samples held",
		                                llround(groups->estimated_bytes.samples), "" } },
			3, err);
	}
	if (rc == 0)
		rc = report_text(to, "engine", NULL, r->ops->name, err);
	if (rc == 0)
		rc = report_text(to, "ended_by", NULL, alloc_ended_text(ended), err);
	if (rc == 0)
		rc = report_double(to, "complete_stacks_percent", NULL, complete_percent(r),
		                   "percent", err);
	if (rc == 0 && r->options.peak)
		rc = put_rows(to, &peak, 1, err);
	if (rc == 0 && filter->older_than_ns)
		rc = report_double(to, "older_than_seconds", "only older than",
		                   (double)filter->older_than_ns / 1e9, "s", err);
	return rc;
}

int result_report_fill(struct alloc_recorder *r, const struct recorder_groups *groups,
                       enum alloc_ended ended, const struct alloc_filter *filter, struct report *to,
                       struct error *err)
{
	struct alloc_counters c;
	int rc = put_head(r, groups, ended, filter, to, err);

	memcpy(&c, (const void *)engine_bpf_counters(r->engine), sizeof(c));
	if (rc == 0)
		rc = put_losses(r, &c, to, err);
	if (rc == 0)
		rc = put_cost(r, to, err);
	if (rc == 0)
		rc = budget_report(&r->budget, to, err);
	if (rc == 0)
		rc = put_allocators(r, to, err);
	if (rc == 0)
		rc = put_calls(&c, to, err);
	if (rc == 0)
		rc = before_report(r->tracees, r->n_tracees, to, err);
	if (rc == 0)
		rc = put_account(r, groups, to, err);
	if (rc == 0)
		rc = recorder_report_processes(r, to, err);
	if (rc == 0)
		rc = recorder_report_left_out(r, to, err);
	if (rc == 0)
		rc = put_gaps(r, to, err);
	return rc;
}
