/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_agent.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/agent_before.h"
#include "alloc/agent_samples.h"
#include "alloc/result_agent_exact.h"
#include "alloc/result_labels.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "profile/interval.h"
#include "unwind/stack_frames.h"

/* The four of every heap profile, ages, and what intervals are made of. */
enum {
	RESULT_AGE = PROFILE_HEAP_TYPES,
	RESULT_INTERVAL,
	RESULT_TYPES = RESULT_INTERVAL + INTERVAL_TYPES,
};

struct held { /* of one stack, or of it in one context, or of all */
	struct interval_sum objects, bytes;
	double age_ns;
	double rounding; /* of all: what the allocator takes beyond bytes, as far as known */
};

static bool is_wanted(const struct alloc_options *o, const struct alloc_filter *f, u64 now_ns,
                      const struct engine_agent_block *b)
{
	return b->size >= o->min_size && (!o->max_size || b->size <= o->max_size) &&
	       (!f->older_than_ns || b->birth_ns + f->older_than_ns <= now_ns);
}

static void add_to(struct held *h, const struct engine_agent *e, const struct engine_agent_block *b,
                   u64 now_ns)
{
	const double weight = agent_samples_weight(e, b->asked, b->seq);

	interval_add_blocks(&h->objects, weight);
	interval_add_bytes(&h->bytes, (double)b->size, weight);
	h->age_ns += weight * (double)(now_ns > b->birth_ns ? now_ns - b->birth_ns : 0);
}

/* ---- the profile ---- */

struct filling {
	struct alloc_recorder *r;
	struct profile *p;
	struct stack_frames frames;
	struct result_labels labels;
};

/* Blocks of one stack in one context. */
struct group {
	u32 stack;
	u64 context;
	struct held held;
};

static const char *why_cut(struct filling *f, u32 id)
{
	const struct agent_stack *s = agent_stacks_at(f->r->agent->stacks, id);
	const struct code_history *h = tracee_history(f->r->tracees[0]);

	if (stack_frames_are_complete(h, agent_stacks_pcs(f->r->agent->stacks, id), s->n, s->stop))
		return NULL;
	if (s->stop == UNWIND_STOP_BAD_STACK)
		return f->r->agent->exact ? "[how far the stack reaches was not known]"
		                          : "[stack not copied from here]";
	if (s->stop == UNWIND_STOP_TRAMPOLINE)
		return "[behind another tool's return probe]";
	return s->stop == UNWIND_STOP_DEEP ? "[deeper than 512 frames]"
	                                   : "[no unwind table from here]";
}

static int frames_of(struct filling *f, u32 id, u32 *ids, struct error *err)
{
	const struct agent_stacks *stacks = f->r->agent->stacks;
	int r;

	if (id)
		return stack_frames_of_pcs(&f->frames, tracee_history(f->r->tracees[0]), 0,
		                           agent_stacks_pcs(stacks, id),
		                           agent_stacks_at((struct agent_stacks *)stacks, id)->n,
		                           why_cut(f, id), ids, err);
	r = profile_frame_named(f->p, "[stack not stored: too many at once]", &ids[0], err);
	return r < 0 ? r : 1;
}

static int add_sample(struct filling *f, u32 stack, u64 context, const struct interval_sum *objects,
                      const struct interval_sum *bytes, const struct held *h, struct error *err)
{
	const struct tracee *t = f->r->tracees[0];
	int64_t values[RESULT_TYPES] = { 0 };
	u32 ids[PROFILE_MAX_FRAMES];
	int n = frames_of(f, stack, ids, err);
	int r = n < 0 ? n : result_labels_process(&f->labels, f->p, t, err);

	if (r == 0)
		r = result_labels_context(&f->labels, f->p, t, context, err);
	if (r < 0)
		return r;
	values[PROFILE_ALLOC_OBJECTS] = llround(objects->estimate);
	values[PROFILE_ALLOC_SPACE] = llround(bytes->estimate);
	values[PROFILE_INUSE_OBJECTS] = llround(h->objects.estimate);
	values[PROFILE_INUSE_SPACE] = llround(h->bytes.estimate);
	values[RESULT_AGE] = llround(h->age_ns);
	interval_values(objects, bytes, &h->objects, &h->bytes, &values[RESULT_INTERVAL]);
	return profile_add(f->p, ids, n, f->labels.items, f->labels.n, values, err);
}

static double above(double all, double part)
{
	return all > part ? all - part : 0;
}

/* Samples of which all but @part are in @all. */
static struct interval_sum without(const struct interval_sum *all, const struct interval_sum *part)
{
	return (struct interval_sum){
		.estimate = above(all->estimate, part->estimate),
		.seen = above(all->seen, part->seen),
		.variance = above(all->variance, part->variance),
		.samples = above(all->samples, part->samples),
	};
}

/* What is gone again belongs to no context any more; a stack without contexts has one row. */
static int add_stack(struct filling *f, u32 id, const struct group *groups, size_t n,
                     struct error *err)
{
	const struct agent_stack *s = agent_stacks_at(f->r->agent->stacks, id);
	const struct held none = { 0 }, *plain = n && !groups[0].context ? &groups[0].held : &none;
	struct interval_sum objects = s->objects, bytes = s->bytes;
	int r = 0;

	for (size_t i = plain != &none; i < n && r == 0; i++) {
		const struct held *h = &groups[i].held;

		r = add_sample(f, id, groups[i].context, &h->objects, &h->bytes, h, err);
		objects = without(&objects, &h->objects);
		bytes = without(&bytes, &h->bytes);
	}
	/* of stacks that were lost only what still lives is known */
	if (objects.estimate < plain->objects.estimate || bytes.estimate < plain->bytes.estimate) {
		objects = plain->objects;
		bytes = plain->bytes;
	}
	if (r < 0 || llround(objects.estimate) < 1)
		return r;
	return add_sample(f, id, 0, &objects, &bytes, plain, err);
}

/* It has no size and no age: a filter of these leaves it out. */
static int add_before(struct alloc_recorder *r, double rounding, const struct alloc_filter *filter,
                      struct profile *p, struct error *err)
{
	const struct alloc_options *o = &r->options;

	if (o->min_size || o->max_size || filter->older_than_ns)
		return 0;
	return before_fill(r->tracees[0], rounding, p, err);
}

/* @groups in the order of their stacks, then contexts. */
static int fill(struct alloc_recorder *r, const struct group *groups, size_t n, struct profile *p,
                struct error *err)
{
	struct filling f = { .r = r, .p = p };
	const size_t n_stacks = agent_stacks_n(r->agent->stacks);
	size_t from = 0, to = 0;
	int rc = 0;

	f.frames.profile = p;
	for (u32 id = 0; rc == 0 && id < n_stacks; id++, from = to) {
		while (to < n && groups[to].stack == id)
			to++;
		rc = add_stack(&f, id, groups + from, to - from, err);
	}
	stack_frames_clear(&f.frames);
	return rc;
}

/* ---- groups ---- */

static int compare_blocks(const void *a, const void *b)
{
	const struct engine_agent_block *x = a, *y = b;

	if (x->stack != y->stack)
		return x->stack < y->stack ? -1 : 1;
	return x->context < y->context ? -1 : x->context > y->context;
}

/* Sorts the blocks; @groups has room for as many. Returns how many groups there are. */
static size_t make_groups(struct alloc_recorder *r, const struct alloc_filter *filter,
                          struct group *groups, struct held *all)
{
	const struct engine_agent *e = r->agent;
	size_t n = 0;

	if (e->n_blocks)
		qsort(e->blocks, e->n_blocks, sizeof(*e->blocks), compare_blocks);
	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct engine_agent_block *b = &e->blocks[i];

		if (!is_wanted(&r->options, filter, e->looked_ns, b))
			continue;
		if (!n || groups[n - 1].stack != b->stack || groups[n - 1].context != b->context)
			groups[n++] = (struct group){ .stack = b->stack, .context = b->context };
		add_to(&groups[n - 1].held, e, b, e->looked_ns);
		add_to(all, e, b, e->looked_ns);
		all->rounding += agent_samples_weight(e, b->size, b->seq) *
		                 (double)before_rounding(r->tracees[0], b->size);
	}
	return n;
}

int result_agent_learn(struct alloc_recorder *r, struct error *err)
{
	struct engine_agent *e = r->agent;
	cleanup_free u64 *contexts = calloc(e->n_blocks + 1, sizeof(*contexts));
	size_t n = 0;

	if (!contexts)
		return error_oom(err);
	for (size_t i = 0; i < e->n_blocks; i++) {
		if (e->blocks[i].context && (!n || contexts[n - 1] != e->blocks[i].context))
			contexts[n++] = e->blocks[i].context;
	}
	return n ? tracee_names_of_contexts(r->tracees[0], contexts, n, err) : 0;
}

/* ---- the report ---- */

static double complete_percent(struct alloc_recorder *r)
{
	const struct code_history *h = tracee_history(r->tracees[0]);
	struct agent_stacks *stacks = r->agent->stacks;
	double all = (double)r->agent->counters.stacks_lost, complete = 0;

	for (u32 id = 1; id < agent_stacks_n(stacks); id++) {
		const struct agent_stack *s = agent_stacks_at(stacks, id);

		all += s->objects.estimate;
		if (stack_frames_are_complete(h, agent_stacks_pcs(stacks, id), s->n, s->stop))
			complete += s->objects.estimate;
	}
	return all > 0 ? 100 * complete / all : 100;
}

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

static int put_counts(struct alloc_recorder *r, const struct held *all, struct report *to,
                      struct error *err)
{
	const struct engine_agent *e = r->agent;
	const struct agent_counters *c = &e->counters;
	double low, high;

	if (e->exact)
		return result_agent_exact_counts(e, (u64)all->bytes.samples,
		                                 (u64)all->bytes.estimate, to, err);
	interval_of(&all->bytes, &low, &high);
	if (!(all->bytes.samples > 0))
		high = INTERVAL_WITHOUT_SAMPLE * (double)agent_rate_coarsest(&e->rate);
	const struct row rows[] = {
		{ "held_bytes", NULL, llround(all->bytes.estimate), "bytes" },
		{ "held_bytes_low", NULL, llround(low), "bytes" },
		/* where there are samples, it stands behind the sum */
		{ "held_bytes_high", all->bytes.samples > 0 ? NULL : "held (95 % sure) at most",
		  llround(high), "bytes" },
		{ "sample_bytes", "one sample in", (int64_t)agent_rate_mean(&e->rate, e->rate.now),
		  "bytes" },
		{ "samples", "samples", (int64_t)c->samples, "" },
		{ "samples_held", "of these still held", (int64_t)all->bytes.samples, "" },
		{ "lost_events", NULL, (int64_t)(c->set_full + c->no_slot + e->torn), "" },
		{ "lost_bytes", "not recorded, tables full",
		  (int64_t)(c->set_full_bytes + c->no_slot_bytes), "bytes" },
		{ "samples_reset", NULL, (int64_t)c->reset, "" },
		{ "lost_contexts", "samples whose context had no room", (int64_t)c->contexts_full,
		  "" },
		{ "lost_no_slot", "calls of threads without a slot", (int64_t)c->no_slot, "" },
		{ "stacks_not_stored", "stacks not stored, too many at once",
		  (int64_t)(c->stacks_lost + agent_stacks_n_refused(e->stacks)), "" },
		{ "pauses", "times that memwho came too late", (int64_t)c->expired, "" },
		{ "slow_calls", NULL, (int64_t)c->slow_calls, "" },
		{ "internal_calls", NULL, (int64_t)c->internal_calls, "" },
		{ "patched_functions", NULL, e->table.n_functions, "" },
	};
	return put_rows(to, rows, ARRAY_SIZE(rows), err);
}

static int put_gaps(const struct tracee *t, struct report *to, struct error *err)
{
	static const char *const columns[] = { "pid", "function", "reason" };
	struct report_table *table = NULL;
	int rc = 0;

	for (size_t k = 0; rc == 0 && k < t->probes.n_gaps; k++) {
		const struct report_figure cells[] = {
			report_cell_int(t->pid),
			report_cell_text(t->probes.gaps[k].name),
			report_cell_text(t->probes.gaps[k].reason),
		};

		rc = report_table(to, "not_covered", columns, ARRAY_SIZE(columns), &table, err);
		if (rc == 0)
			rc = report_row(table, cells, err);
	}
	return rc;
}

/* Means in force, from when on; the agent's own for a moment are not among them. */
static int put_rates(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	static const char *const columns[] = { "ms", "sample_bytes" };
	const struct agent_rate *rate = &r->agent->rate;
	struct report_table *table = NULL;
	int rc = 0;

	if (rate->n_history < 2 || r->agent->exact)
		return 0;
	rc = report_table(to, "rates", columns, ARRAY_SIZE(columns), &table, err);
	for (unsigned i = 0; rc == 0 && i < rate->n_history; i++) {
		const struct agent_rate_change *c = &rate->history[i];
		const struct report_figure cells[] = {
			report_cell_int(c->at_ns > r->begun_ns
			                        ? (int64_t)(c->at_ns - r->begun_ns) / 1000000
			                        : 0),
			report_cell_int((int64_t)c->mean),
		};

		rc = report_row(table, cells, err);
	}
	if (rc == 0 && rate->n_untold)
		rc = report_int(to, "rates_left_out", NULL, rate->n_untold, "", err);
	return rc;
}

static int put_cost(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	int rc;

	if (r->agent->exact)
		return 0;
	rc = budget_report(&r->agent->budget, to, err);
	if (rc == 0)
		rc = report_int(to, "coarsest_sample_bytes", NULL,
		                (int64_t)agent_rate_coarsest(&r->agent->rate), "bytes", err);
	return rc == 0 ? put_rates(r, to, err) : rc;
}

/* How long after the begin the last look was; a short-lived program was never looked at. */
static u64 looked_after_ns(const struct alloc_recorder *r)
{
	return r->agent->looked_ns > r->begun_ns ? r->agent->looked_ns - r->begun_ns : 0;
}

static int put_times(struct alloc_recorder *r, enum alloc_ended ended,
                     const struct alloc_filter *filter, struct report *to, struct error *err)
{
	const struct engine_agent *e = r->agent;
	char damage[256];
	int rc = report_double(to, "complete_stacks_percent", NULL, complete_percent(r), "percent",
	                       err);

	if (rc == 0)
		rc = report_double(to, "target_stood_still_seconds", NULL,
		                   (double)e->stopped_ns / 1e9, "s", err);
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
	if (rc == 0 && e->patch_lost[0])
		rc = report_text(to, "changed_by_others", "ended, for somebody changed",
		                 e->patch_lost, err);
	if (rc == 0 && *agent_health_text(&e->health, damage, sizeof(damage)))
		rc = report_text(to, "damaged_in_target", "DAMAGED in the target", damage, err);
	if (rc == 0 && e->left)
		rc = report_text(to, "left_in_target", "left", "the agent's memory, unused", err);
	return rc == 0 ? report_text(to, "ended_by", NULL, alloc_ended_text(ended), err) : rc;
}

/* Those of which anything is patched. */
static int put_allocators(const struct tracee *t, struct report *to, struct error *err)
{
	char text[128] = "";
	size_t len = 0;

	for (size_t i = 0; i < t->n_runtimes && len < sizeof(text); i++) {
		bool is_recorded = false;

		for (size_t k = 0; k < t->probes.n_probes; k++)
			is_recorded |= t->probes.probes[k].owner == t->runtimes[i] &&
			               !t->probes.probes[k].left_out;
		if (is_recorded)
			len += snprintf(text + len, sizeof(text) - len, "%s%s", len ? ", " : "",
			                t->runtimes[i]->name);
	}
	return report_text(to, "allocators", "allocators", text, err);
}

static int put_report(struct alloc_recorder *r, const struct held *all, enum alloc_ended ended,
                      const struct alloc_filter *filter, struct report *to, struct error *err)
{
	const struct tracee *t = r->tracees[0];
	char text[128];
	int rc;

	snprintf(text, sizeof(text), "%s (%d)", t->command, t->pid);
	rc = report_text(to, "target", NULL, text, err);
	if (rc == 0)
		rc = report_int(to, "pid", NULL, t->pid, "", err);
	if (rc == 0)
		rc = report_double(to, "duration_seconds", NULL, (double)looked_after_ns(r) / 1e9,
		                   "s", err);
	if (rc == 0)
		rc = report_text(to, "engine", NULL, "agent", err);
	if (rc == 0)
		rc = put_allocators(t, to, err);
	if (rc == 0)
		rc = put_counts(r, all, to, err);
	if (rc == 0)
		rc = put_times(r, ended, filter, to, err);
	if (rc == 0)
		rc = before_report(t, to, err);
	if (rc == 0)
		rc = put_cost(r, to, err);
	return rc < 0 ? rc : put_gaps(t, to, err);
}

/* ---- both ---- */

static int new_profile(bool exact, struct profile **ret, struct error *err)
{
	struct profile_type types[RESULT_TYPES];

	memcpy(types, profile_heap_types, sizeof(profile_heap_types));
	types[RESULT_AGE] = (struct profile_type){ "inuse_age", "nanoseconds" };
	memcpy(&types[RESULT_INTERVAL], interval_profile_types, sizeof(interval_profile_types));
	/* what is exact has no interval */
	return profile_new(ret, types, exact ? RESULT_INTERVAL : RESULT_TYPES, PROFILE_INUSE_SPACE,
	                   err);
}

int result_agent_make(struct alloc_recorder *r, enum alloc_ended ended,
                      const struct alloc_filter *filter, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup_free struct group *groups = NULL;
	struct engine_agent *e = r->agent;
	struct held all = { 0 };
	struct error why;
	size_t n;
	int rc;

	if (ended != ALLOC_RUNNING)
		alloc_detach(r);
	rc = e->attached ? agent_samples_look(e, err) : 0;
	if (e->attached && rc == 0)
		agent_before_look(r);
	if (rc < 0 && rc != -ESRCH) /* it ended meanwhile: what was seen last is the result */
		return rc;
	if (result_agent_learn(r, &why) < 0)
		log_note(LOG_DEBUG, "%s", why.message);
	groups = calloc(e->n_blocks + 1, sizeof(*groups));
	if (!groups)
		return error_oom(err);
	n = make_groups(r, filter, groups, &all);
	rc = new_profile(e->exact, &p, err);
	if (rc == 0)
		rc = fill(r, groups, n, p, err);
	if (rc == 0)
		rc = add_before(r, all.rounding, filter, p, err);
	if (rc == 0)
		rc = put_report(r, &all, ended, filter, profile_report(p), err);
	if (rc < 0)
		return rc;
	profile_set_time(p, r->begun_unix_ns, (int64_t)looked_after_ns(r));
	*ret = take_ptr(p);
	return 0;
}
