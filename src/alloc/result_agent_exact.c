/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_agent_exact.h"

#include "alloc/agent_exact.h"
#include "base/cleanup.h"

int result_agent_exact_counts(const struct result_agent_exact *x, struct report *to,
                              struct error *err)
{
	const struct agent_exact_counters *c = x->counters;
	const struct agent_exact_sums *s = x->sums;
	const u64 lost = c->set_full + c->late + x->torn + x->passed_on;
	const struct row {
		const char *key, *title;
		u64 value;
		const char *unit;
	} rows[] = {
		{ "held_bytes", NULL, x->held_bytes, "bytes" },
		{ "held_objects", NULL, x->held_objects, "" },
		{ "allocations", "allocations", s->objects, "" },
		{ "allocated_bytes", "allocated", s->bytes, "bytes" },
		{ "frees", NULL, s->freed_objects, "" },
		{ "freed_bytes", "freed", s->freed_bytes, "bytes" },
		{ "lost_events", NULL, lost, "" },
		{ "lost_bytes", NULL, c->set_full_bytes + c->late_bytes, "bytes" },
		{ "lost_table_full", "blocks not recorded, table full", c->set_full, "" },
		{ "lost_table_full_bytes", "their bytes", c->set_full_bytes, "bytes" },
		{ "lost_contexts", "blocks whose context had no room", c->contexts_full, "" },
		{ "lost_late", "blocks not recorded, memwho came too late", c->late, "" },
		{ "lost_late_bytes", "their bytes", c->late_bytes, "bytes" },
		{ "lost_passed_on", "blocks not recorded, got when memory was short", x->passed_on,
		  "" },
		{ "lost_torn", "blocks that could not be read", x->torn, "" },
		{ "stacks_not_stored", "blocks whose stacks were not stored, table full",
		  c->no_stack, "" },
		{ "stacks_not_stored_bytes", "their bytes", c->no_stack_bytes, "bytes" },
		{ "stacks_cut", NULL, c->cut, "" },
		{ "stacks_in_unknown_module", NULL, c->unknown, "" },
		{ "internal_calls", NULL, x->internal_calls, "" },
		{ "patched_functions", NULL, x->functions, "" },
	};
	int r = report_text(to, "mode", NULL, "exact", err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++)
		r = report_int(to, rows[i].key, rows[i].value ? rows[i].title : NULL,
		               (int64_t)rows[i].value, rows[i].unit, err);
	if (r == 0 && c->gave_up)
		r = report_text(to, "gave_up", "ended, for memwho came too late",
		                "the agent stopped by itself", err);
	return r;
}
