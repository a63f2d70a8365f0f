/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_agent_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alloc/agent_follow.h"
#include "alloc/before.h"
#include "alloc/result_agent_exact.h"
#include "alloc/result_by_code.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "target/pages.h"
#include "unwind/stack_frames.h"

/* ---- what all processes sum to ---- */

struct sums {
	struct agent_counters counters;
	struct agent_exact_counters exact;
	struct agent_exact_sums allocated;
	struct budget budget;
	u64 torn, functions, pages, refused, stopped_ns, mean, coarsest;
	bool gave_up;
};

static void add_words(void *to, const void *from, size_t bytes)
{
	u64 *t = to;
	const u64 *f = from;

	for (size_t i = 0; i < bytes / sizeof(*t); i++)
		t[i] += f[i];
}

static void add_exact(struct sums *s, const struct agent_exact_run *x)
{
	const struct agent_exact_counters *c = &x->counters;
	struct agent_exact_counters *to = &s->exact;

	to->set_full += c->set_full;
	to->set_full_bytes += c->set_full_bytes;
	to->no_stack += c->no_stack;
	to->no_stack_bytes += c->no_stack_bytes;
	to->late += c->late;
	to->late_bytes += c->late_bytes;
	to->cut += c->cut;
	to->unknown += c->unknown;
	to->gave_up |= c->gave_up;
	add_words(&s->allocated, &x->sums, sizeof(s->allocated));
}

static void add_agent(struct sums *s, const struct engine_agent *e)
{
	const u64 mean = agent_rate_mean(&e->rate, e->rate.now);
	const u64 coarsest = agent_rate_coarsest(&e->rate);

	_Static_assert(sizeof(e->counters) % sizeof(u64) == 0, "words only");
	add_words(&s->counters, &e->counters, sizeof(e->counters));
	s->torn += e->torn;
	s->functions += e->table.n_functions;
	s->pages += e->moved.n;
	s->refused += agent_stacks_n_refused(e->stacks);
	s->stopped_ns = e->stopped_ns > s->stopped_ns ? e->stopped_ns : s->stopped_ns;
	s->mean = mean > s->mean ? mean : s->mean;
	s->coarsest = coarsest > s->coarsest ? coarsest : s->coarsest;
	budget_add(&s->budget, &e->budget);
	if (e->exact)
		add_exact(s, e->exact);
}

static struct engine_agent *agent_of(const struct alloc_recorder *r, size_t i)
{
	return r->tracees[i]->agent;
}

static struct sums sums_of(const struct alloc_recorder *r)
{
	struct sums s = { 0 };

	for (size_t i = 0; i < r->n_tracees; i++) {
		if (agent_of(r, i))
			add_agent(&s, agent_of(r, i));
	}
	return s;
}

static double complete_percent(struct alloc_recorder *r)
{
	double all = 0, complete = 0;

	for (size_t i = 0; i < r->n_tracees; i++) {
		const struct code_history *h = tracee_history(r->tracees[i]);
		struct agent_stacks *stacks = agent_of(r, i) ? agent_of(r, i)->stacks : NULL;

		all += stacks ? (double)agent_of(r, i)->counters.stacks_lost : 0;
		for (u32 id = 1; stacks && id < agent_stacks_n(stacks); id++) {
			const struct agent_stack *s = agent_stacks_at(stacks, id);

			all += s->objects.estimate;
			if (stack_frames_are_complete(h, agent_stacks_pcs(stacks, id), s->n,
			                              s->stop))
				complete += s->objects.estimate;
		}
	}
	return all > 0 ? 100 * complete / all : 100;
}

/* ---- rows ---- */

struct row {
	const char *key, *title;
	int64_t value;
	const char *unit;
};

static int put_rows(struct report *to, const struct row *rows, size_t n, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = report_int(to, rows[i].key, rows[i].value ? rows[i].title : NULL, rows[i].value,
		               rows[i].unit, err);
	return r;
}

static int put_exact_counts(const struct sums *s, const struct result_agent_held *all,
                            struct report *to, struct error *err)
{
	const struct result_agent_exact x = {
		.counters = &s->exact,
		.sums = &s->allocated,
		.torn = s->torn,
		.passed_on = s->counters.passed_on,
		.internal_calls = s->counters.internal_calls,
		.functions = s->functions,
		.held_objects = (u64)all->bytes.samples,
		.held_bytes = (u64)all->bytes.estimate,
	};

	return result_agent_exact_counts(&x, to, err);
}

static int put_counts(const struct sums *s, const struct result_agent_held *all, struct report *to,
                      struct error *err)
{
	const struct agent_counters *c = &s->counters;
	double low, high;

	interval_of(&all->bytes, &low, &high);
	if (!(all->bytes.samples > 0))
		high = INTERVAL_WITHOUT_SAMPLE * (double)s->coarsest;
	const struct row rows[] = {
		{ "held_bytes", NULL, llround(all->bytes.estimate), "bytes" },
		{ "held_bytes_low", NULL, llround(low), "bytes" },
		/* where there are samples, it stands behind the sum */
		{ "held_bytes_high", all->bytes.samples > 0 ? NULL : "held (95 % sure) at most",
		  llround(high), "bytes" },
		{ "sample_bytes", "one sample in", (int64_t)s->mean, "bytes" },
		{ "samples", "samples", (int64_t)c->samples, "" },
		{ "samples_held", "of these still held", (int64_t)all->bytes.samples, "" },
		{ "lost_events", NULL, (int64_t)(c->set_full + c->no_slot + s->torn), "" },
		{ "lost_bytes", "not recorded, tables full",
		  (int64_t)(c->set_full_bytes + c->no_slot_bytes), "bytes" },
		{ "samples_reset", NULL, (int64_t)c->reset, "" },
		{ "lost_contexts", "samples whose context had no room", (int64_t)c->contexts_full,
		  "" },
		{ "lost_no_slot", "calls of threads without a slot", (int64_t)c->no_slot, "" },
		{ "stacks_not_stored", "stacks not stored, too many at once",
		  (int64_t)(c->stacks_lost + s->refused), "" },
		{ "pauses", "times that memwho came too late", (int64_t)c->expired, "" },
		{ "slow_calls", NULL, (int64_t)c->slow_calls, "" },
		{ "internal_calls", NULL, (int64_t)c->internal_calls, "" },
		{ "patched_functions", NULL, (int64_t)s->functions, "" },
	};
	return put_rows(to, rows, ARRAY_SIZE(rows), err);
}

static int put_gaps(const struct tracee *t, struct report *to, struct report_table **table,
                    struct error *err)
{
	static const char *const columns[] = { "pid", "function", "reason" };
	int rc = 0;

	for (size_t k = 0; rc == 0 && k < t->probes.n_gaps; k++) {
		const struct report_figure cells[] = {
			report_cell_int(t->pid),
			report_cell_text(t->probes.gaps[k].name),
			report_cell_text(t->probes.gaps[k].reason),
		};

		rc = report_table(to, "not_covered", columns, ARRAY_SIZE(columns), table, err);
		if (rc == 0)
			rc = report_row(*table, cells, err);
	}
	return rc;
}

static int put_all_gaps(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	struct report_table *table = NULL;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++)
		rc = put_gaps(r->tracees[i], to, &table, err);
	return rc;
}

/* Means in force, from when on; the agent's own for a moment are not among them. */
static int put_rates(const struct alloc_recorder *r, const struct tracee *t, struct report *to,
                     struct report_table **table, struct error *err)
{
	static const char *const columns[] = { "ms", "sample_bytes", "pid" };
	const struct agent_rate *rate = &t->agent->rate;
	int rc = 0;

	if (rate->n_history < 2)
		return 0;
	/* of one process there is one to name */
	rc = report_table(to, "rates", columns, r->n_tracees > 1 ? 3 : 2, table, err);
	for (unsigned i = 0; rc == 0 && i < rate->n_history; i++) {
		const struct agent_rate_change *c = &rate->history[i];
		const struct report_figure cells[] = {
			report_cell_int(c->at_ns > r->begun_ns
			                        ? (int64_t)(c->at_ns - r->begun_ns) / 1000000
			                        : 0),
			report_cell_int((int64_t)c->mean),
			report_cell_int(t->pid),
		};

		rc = report_row(*table, cells, err);
	}
	return rc;
}

static int put_all_rates(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	struct report_table *table = NULL;
	int64_t untold = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		if (!agent_of(r, i))
			continue;
		rc = put_rates(r, r->tracees[i], to, &table, err);
		untold += agent_of(r, i)->rate.n_untold;
	}
	return rc == 0 && untold ? report_int(to, "rates_left_out", NULL, untold, "", err) : rc;
}

/* By the number of calls: where stacks change from call to call it is up to twice that. */
static int put_exact_cost(const struct budget *b, struct report *to, struct error *err)
{
	const double wall = (double)(b->noted_ns - b->begun_ns);
	int rc = report_double(to, "cost_percent", "cost, of the target's processor time, at least",
	                       100 * budget_share(b->cost_ns, b->cpu_ns, wall), "percent", err);

	if (rc == 0)
		rc = report_double(to, "cost_cpu_seconds", NULL, b->cost_ns / 1e9, "s", err);
	return rc < 0 ? rc
	              : report_double(to, "target_cpu_seconds", NULL, b->cpu_ns / 1e9, "s", err);
}

static int put_cost(const struct alloc_recorder *r, const struct sums *s, struct report *to,
                    struct error *err)
{
	int rc;

	if (r->options.exact)
		return put_exact_cost(&s->budget, to, err);
	rc = budget_report(&s->budget, to, err);
	if (rc == 0)
		rc = report_int(to, "coarsest_sample_bytes", NULL, (int64_t)s->coarsest, "bytes",
		                err);
	return rc == 0 ? put_all_rates(r, to, err) : rc;
}

u64 result_agent_report_looked_ns(const struct alloc_recorder *r)
{
	u64 last = 0;

	for (size_t i = 0; i < r->n_tracees; i++) {
		if (agent_of(r, i) && agent_of(r, i)->looked_ns > last)
			last = agent_of(r, i)->looked_ns;
	}
	return last > r->begun_ns ? last - r->begun_ns : 0;
}

/* What went wrong in one of them; of several it is named. */
static int put_trouble(const struct tracee *t, bool is_alone, struct report *to, struct error *err)
{
	const struct engine_agent *e = t->agent;
	char damage[256], text[320], who[64] = "";
	int rc = 0;

	if (!is_alone)
		snprintf(who, sizeof(who), "process %d: ", t->pid);
	if (e->patch_lost[0]) {
		snprintf(text, sizeof(text), "%s%s", who, e->patch_lost);
		rc = report_text(to, "changed_by_others", "ended, for somebody changed", text, err);
	}
	if (rc == 0 && *agent_health_text(&e->health, damage, sizeof(damage))) {
		snprintf(text, sizeof(text), "%s%s", who, damage);
		rc = report_text(to, "damaged_in_target", "DAMAGED in the target", text, err);
	}
	if (rc == 0 && e->left) {
		snprintf(text, sizeof(text), "%sthe agent's memory, unused", who);
		rc = report_text(to, "left_in_target", "left", text, err);
	}
	return rc;
}

/* Memory of ours that the processes have now. After the end a little is left: docs/safety.md. */
static int put_own(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	int64_t resident = 0;
	bool is_known = false;

	for (size_t i = 0; i < r->n_tracees; i++) {
		const struct engine_agent *e = agent_of(r, i);
		struct pages_count own = { 0 }, exact = { 0 };
		struct error ignored;

		if (!e || !e->attached ||
		    pages_count(r->tracees[i]->target, e->base, e->base + AGENT_BYTES, &own,
		                &ignored) < 0)
			continue;
		if (e->table.exact_at)
			pages_count(r->tracees[i]->target, e->table.exact_at,
			            e->table.exact_at + e->table.exact_bytes, &exact, &ignored);
		resident += (int64_t)(own.resident_bytes + exact.resident_bytes);
		is_known = true;
	}
	return is_known ? report_int(to, "own_resident_bytes", "memwho's own memory in there",
	                             resident, "bytes", err)
	                : 0;
}

static int put_times(struct alloc_recorder *r, const struct sums *s, enum alloc_ended ended,
                     const struct alloc_filter *filter, struct report *to, struct error *err)
{
	int rc = report_double(to, "complete_stacks_percent", NULL, complete_percent(r), "percent",
	                       err);

	if (rc == 0 && s->pages)
		rc = report_int(to, "patched_pages", NULL, (int64_t)s->pages, "", err);
	if (rc == 0)
		rc = report_double(to, "target_stood_still_seconds", NULL,
		                   (double)s->stopped_ns / 1e9, "s", err);
	if (rc == 0)
		rc = report_double(to, "attach_seconds", NULL, r->attach_seconds, "s", err);
	if (rc == 0)
		rc = report_double(to, "detach_seconds", NULL, r->detach_seconds, "s", err);
	if (rc == 0)
		rc = report_double(to, "memwho_cpu_seconds", NULL,
		                   (double)clock_self_cpu_ns() / 1e9, "s", err);
	if (rc == 0 && filter->older_than_ns)
		rc = report_double(to, "older_than_seconds", "only older than",
		                   (double)filter->older_than_ns / 1e9, "s", err);
	if (rc == 0)
		rc = put_own(r, to, err);
	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		if (agent_of(r, i))
			rc = put_trouble(r->tracees[i], r->n_tracees == 1, to, err);
	}
	return rc == 0 ? report_text(to, "ended_by", NULL, alloc_ended_text(ended), err) : rc;
}

static bool is_in_list(const char *list, const char *name)
{
	const size_t n = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at += n) {
		if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ','))
			return true;
	}
	return false;
}

/* Those of which anything is patched. */
static void add_allocators(const struct tracee *t, char *text, size_t size)
{
	for (size_t i = 0; i < t->n_runtimes; i++) {
		const size_t len = strlen(text);
		bool is_recorded = false;

		for (size_t k = 0; k < t->probes.n_probes; k++)
			is_recorded |= t->probes.probes[k].owner == t->runtimes[i] &&
			               !t->probes.probes[k].left_out;
		if (is_recorded && !is_in_list(text, t->runtimes[i]->name))
			snprintf(text + len, size - len, "%s%s", len ? ", " : "",
			         t->runtimes[i]->name);
	}
}

static int put_handover(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	const struct recorder_handover *h = &r->handover;
	int rc;

	if (!(h->after_seconds > 0))
		return 0;
	rc = report_double(to, "handed_over_after_seconds",
	                   "sampled, for the exact engine cost too much after", h->after_seconds,
	                   "s", err);
	if (rc == 0)
		rc = report_double(to, "handed_over_gap_seconds", NULL, h->gap_seconds, "s", err);
	return rc == 0 ? report_int(to, "handed_over_held_bytes",
	                            "of what was there before it had recorded",
	                            (int64_t)h->held_bytes, "bytes", err)
	               : rc;
}

static int put_target(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	const struct tracee *t = r->tracees[0];
	char text[160], allocators[256] = "";
	int n = snprintf(text, sizeof(text), "%s (%d)", t->command, t->pid), rc;

	if (r->n_tracees > 1)
		snprintf(text + n, sizeof(text) - (size_t)n, " and %zu more", r->n_tracees - 1);
	rc = report_text(to, "target", NULL, text, err);
	if (rc == 0)
		rc = put_handover(r, to, err);
	if (rc == 0)
		rc = report_int(to, "pid", NULL, t->pid, "", err);
	if (rc == 0)
		rc = report_double(to, "duration_seconds", NULL,
		                   (double)result_agent_report_looked_ns(r) / 1e9, "s", err);
	if (rc == 0)
		rc = report_text(to, "engine", NULL, "agent", err);
	for (size_t i = 0; i < r->n_tracees; i++)
		add_allocators(r->tracees[i], allocators, sizeof(allocators));
	if (rc == 0)
		rc = report_text(to, "allocators", "allocators", allocators, err);
	return rc < 0 ? rc : result_by_code_put(r, to, err);
}

int result_agent_report_fill(struct alloc_recorder *r, const struct result_agent_held *all,
                             enum alloc_ended ended, const struct alloc_filter *filter,
                             struct report *to, struct error *err)
{
	const struct sums s = sums_of(r);
	int rc = put_target(r, to, err);

	if (rc == 0)
		rc = r->options.exact ? put_exact_counts(&s, all, to, err)
		                      : put_counts(&s, all, to, err);
	if (rc == 0 && r->options.peak)
		rc = report_int(to, "peak_held_bytes", "most held at once (seen every 50 ms)",
		                (int64_t)r->peak_held, "bytes", err);
	if (rc == 0)
		rc = put_times(r, &s, ended, filter, to, err);
	if (rc == 0)
		rc = before_report(r->tracees, r->n_tracees, to, err);
	if (rc == 0)
		rc = put_cost(r, &s, to, err);
	if (rc == 0)
		rc = recorder_report_processes(r, to, err);
	if (rc == 0)
		rc = recorder_report_left_out(r, to, err);
	if (rc == 0)
		rc = agent_follow_report(r, to, err);
	return rc < 0 ? rc : put_all_gaps(r, to, err);
}
