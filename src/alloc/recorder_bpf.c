/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The exact engine in a recorder: every call of the allocators, by probes of the kernel. */

#include "alloc/recorder_bpf.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/agent_steps.h"
#include "alloc/bpf_before.h"
#include "alloc/bpf_way.h"
#include "alloc/engine_possible.h"
#include "alloc/follow.h"
#include "alloc/recorder.h"
#include "alloc/result_profile.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

enum {
	DEFAULT_FIRST_LEVEL = 1 << 18,
	ROW_HEADROOM = 1 << 18, /* for modules that come later */
	MANY_THREADS = 512,     /* whose waiting is read every second */
};

#define TEND_NS 20000000ULL

/* ---- start ---- */

static bool any_throws(const struct alloc_recorder *r)
{
	for (size_t i = 0; i < r->n_tracees; i++) {
		if (tracee_may_throw(r->tracees[i]))
			return true;
	}
	return false;
}

static int open_engine(struct alloc_recorder *r, struct error *err)
{
	bool many = r->options.follow || r->n_tracees > 1;
	struct engine_bpf_sizes sizes = {
		.tables.stacks = many ? 1 << 18 : 1 << 16,
		.tables.pcs = many ? 1 << 22 : 1 << 21,
		.first_level = r->options.table_entries ? r->options.table_entries
		                                        : DEFAULT_FIRST_LEVEL,
		.reset_contexts = 1 << 16,
		.want_stacks = !r->options.no_stacks,
		.want_sessions = any_throws(r),
		.follow = r->options.follow,
	};
	int rc;

	for (size_t i = 0; i < r->n_tracees; i++) {
		rc = modules_add_space(&r->modules, r->tracees[i]->space, err);
		if (rc < 0)
			return rc;
	}
	modules_sizes(&r->modules, &sizes.tables.rows, &sizes.tables.index);
	sizes.tables.rows += ROW_HEADROOM;
	sizes.tables.index += ROW_HEADROOM;
	return engine_bpf_open(&sizes, &r->engine, err);
}

/* A process that ends while we attach to it is no reason to leave the others. */
static int forgive_ended(struct alloc_recorder *r, struct tracee *t, int rc, struct error *err)
{
	if (rc >= 0 || !target_has_ended(t->target))
		return rc;
	recorder_end(r, t, ALLOC_ENDED_EXIT);
	if (!recorder_all_ended(r))
		return 0;
	error_set(err, ESRCH, "process %d (%s) ended while memwho attached to it", t->pid,
	          t->command);
	return error_hint(err, "`memwho run -- COMMAND` records a program from its start to its "
	                       "end");
}

static int publish_all(struct alloc_recorder *r, struct error *err)
{
	for (size_t i = 0; i < r->n_tracees; i++) {
		int rc;

		tracee_decide_throws(r->tracees[i], engine_bpf_has_sessions(r->engine));
		rc = tracee_publish(r->tracees[i], r->engine, &r->modules, err);
		rc = forgive_ended(r, r->tracees[i], rc, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int too_slow(const struct guard *g, struct error *err)
{
	if (g->is_beyond)
		error_set(err, EBUSY,
		          "recording exactly would slow the target down more than can be told "
		          "(more than %lu "
		          "allocator calls a second on its busiest thread); the limit is %.4gx",
		          (unsigned long)g->hits_per_second, g->limit);
	else
		error_set(err, EBUSY,
		          "recording exactly would slow the target down about %.1fx (%lu allocator "
		          "calls a "
		          "second on its busiest thread); the limit is %.4gx",
		          g->estimate, (unsigned long)g->hits_per_second, g->limit);
	return error_hint(err,
	                  "--max-slowdown %.0f records all the same; or record at a quieter "
	                  "time, or another process of the service",
	                  g->estimate + 1);
}

static void note_threads(struct alloc_recorder *r)
{
	for (size_t i = 0; i < r->n_tracees; i++) {
		cleanup_free pid_t *tids = NULL;
		struct error ignored;
		size_t n = 0;

		if (!r->tracees[i]->ended &&
		    target_threads(r->tracees[i]->target, &tids, &n, &ignored) == 0)
			guard_note_threads(&r->guard, tids, n < MANY_THREADS ? n : MANY_THREADS);
	}
}

/* Of all processes that can be asked; what an ended one has used is kept. */
static double cpu_ns(struct alloc_recorder *r)
{
	double sum = 0;

	for (size_t i = 0; i < r->n_tracees; i++) {
		const double ns = budget_cpu_ns(r->tracees[i]->pid);

		if (ns > r->tracees[i]->cpu_ns)
			r->tracees[i]->cpu_ns = ns;
		sum += r->tracees[i]->cpu_ns;
	}
	return sum;
}

/* The counting itself is no use that the target makes of a processor. Where hardly anything
 * else was left of its time, what passes the agent is for the agent to measure. */
static void estimate_shares(struct alloc_recorder *r, double cpu, double wall)
{
	const struct guard_sample *s = &r->guard.counted;
	const double own = cpu - (double)s->hits * r->guard.costs.count;

	wall = fmax(wall - (double)s->busiest_hits * r->guard.costs.count, wall / 100);
	r->exact_share = budget_share(guard_cost_ns(&r->guard.costs, s), fmax(own, cpu / 100),
	                              wall);
	/* the busiest thread alone, at its own pace: no less than that */
	r->exact_share = fmax(r->exact_share, r->guard.estimate - 1);
	r->passing_share = own > cpu / 10
	                           ? budget_share((double)s->hits / 2 * AGENT_PAIR_NS, own, wall)
	                           : 0;
}

static int over_budget(struct alloc_recorder *r, struct error *err)
{
	char cost[BUDGET_WORDS];

	r->over_budget = true;

	budget_words(r->exact_share, cost);
	error_set(err, EBUSY,
	          "recording exactly would cost %s of the target's processor time; the "
	          "budget is %.3g %%",
	          cost, 100 * r->options.budget);
	/* above that --budget is refused */
	if (r->exact_share > 0.99)
		return error_hint(err, "--max-slowdown %.0f records exactly all the same",
		                  r->guard.estimate + 1);
	return error_hint(
		err,
		"--max-slowdown %.0f records exactly all the same; --budget %.0f%% allows "
		"more",
		r->guard.estimate + 1, ceil(100 * r->exact_share));
}

static void say_counted(const struct guard *g)
{
	if (g->is_beyond)
		log_note(LOG_INFO,
		         "more than %lu allocator calls a second on the busiest thread: too many "
		         "to tell how much slower while recording",
		         (unsigned long)g->hits_per_second);
	else
		log_note(LOG_INFO,
		         "%lu allocator calls a second on the busiest thread: about %.2fx slower "
		         "while recording",
		         (unsigned long)g->hits_per_second, g->estimate);
}

static int attach_counting(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	struct lock lock;
	int rc = bpf_way_clear(t->target, &lock, err);

	if (rc >= 0)
		rc = tracee_attach_counting(t, r->engine, err);
	lock_give(&lock);
	return rc;
}

static int count_first(struct alloc_recorder *r, struct error *err)
{
	int rc = calibrate_run(r->engine, &r->modules, r->pool, &r->guard.costs, err);

	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		rc = attach_counting(r, r->tracees[i], err);
		rc = forgive_ended(r, r->tracees[i], rc, err);
	}
	note_threads(r);
	if (rc == 0) {
		const double cpu = cpu_ns(r);
		const u64 begun = clock_now_ns();

		guard_count(&r->guard, r->engine);
		estimate_shares(r, cpu_ns(r) - cpu, (double)(clock_now_ns() - begun));
	}
	for (size_t i = 0; i < r->n_tracees; i++)
		tracee_detach(r->tracees[i]);
	if (rc < 0)
		return rc;
	say_counted(&r->guard);
	if (r->options.budget > 0)
		return r->exact_share > r->options.budget ? over_budget(r, err) : 0;
	return r->guard.estimate > r->guard.limit ? too_slow(&r->guard, err) : 0;
}

static int attach_all(struct alloc_recorder *r, struct error *err)
{
	u64 start = clock_now_ns();

	engine_bpf_reset_counters(r->engine);
	for (size_t i = 0; i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];
		int rc = t->ended ? 0 : recorder_attach(r, t, err);

		rc = forgive_ended(r, t, rc, err);
		if (rc < 0)
			return rc;
	}
	recorder_begin(r, start);
	note_threads(r);
	guard_begin(&r->guard, r->engine);
	budget_begin(&r->budget, r->options.budget, r->begun_ns, cpu_ns(r));
	engine_bpf_links_preload(r->engine);
	bpf_before_look(r);
	return 0;
}

/* Before anything is read of their code; once more when uprobes are set. */
static int clear_ways(struct alloc_recorder *r, struct error *err)
{
	for (size_t i = 0; i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];
		struct lock lock;
		int rc = bpf_way_clear(t->target, &lock, err);

		lock_give(&lock);
		/* pages may be back that were somewhere else */
		if (rc > 0)
			rc = symbol_space_refresh(t->space, t->target, err);
		rc = forgive_ended(r, t, rc, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int attach(struct alloc_recorder *r, const struct engine_request *q, struct error *err)
{
	u64 begun = clock_now_ns();
	int rc = recorder_open(r, q->pids, q->n_pids, err);

	if (rc == 0)
		rc = clear_ways(r, err);
	if (rc == 0)
		rc = open_engine(r, err);
	if (rc == 0)
		rc = publish_all(r, err);
	if (rc < 0)
		return rc;
	r->attach_seconds = (double)(clock_now_ns() - begun) / 1e9;
	if (!q->started_stopped)
		rc = count_first(r, err);
	else
		rc = calibrate_run(r->engine, &r->modules, r->pool, &r->guard.costs, err);
	return rc < 0 ? rc : attach_all(r, err);
}

/* Who ended between our first look and the attach has sent no event. */
static void note_already_gone(struct alloc_recorder *r)
{
	for (size_t i = 0; i < r->n_tracees; i++) {
		if (target_has_ended(r->tracees[i]->target))
			recorder_end(r, r->tracees[i], ALLOC_ENDED_EXIT);
	}
}

int recorder_bpf_open(struct alloc_recorder *r, const struct engine_request *q, struct error *err)
{
	int rc;

	r->guard.limit = q->options->max_slowdown > 0 ? q->options->max_slowdown : 1.5;
	rc = attach(r, q, err);
	if (rc == 0)
		note_already_gone(r);
	return rc;
}

static int accepts(const struct engine_request *q, struct error *err)
{
	return 0;
}

/* ---- poll ---- */

uint64_t recorder_bpf_held_bytes(const struct alloc_recorder *r)
{
	const volatile struct alloc_counters *c = engine_bpf_counters(r->engine);
	u64 gone = c->free_bytes + engine_bpf_table_swept_bytes(r->engine), born = c->alloc_bytes;

	return born > gone ? born - gone : 0;
}

static void watch_peak(struct alloc_recorder *r)
{
	struct recorder_groups now = { 0 };
	u64 held = recorder_bpf_held_bytes(r), start = clock_now_ns();
	struct error ignored;

	if (held > r->peak_held)
		r->peak_held = held;
	/* a look at the table for each hundredth of growth, and not more than a
	 * fifth of the time */
	if (r->peak.taken_ns && (held < r->peak.bytes + r->peak.bytes / 100 ||
	                         start - r->peak.taken_ns < 4 * r->peak_cost_ns))
		return;
	if (result_groups(r, 0, &now, &ignored) < 0)
		return;
	r->peak_cost_ns = clock_now_ns() - start;
	if (now.bytes >= r->peak.bytes) {
		result_groups_clear(&r->peak);
		r->peak = now;
	} else {
		result_groups_clear(&now);
	}
}

/* Contexts of a process that may be gone at the end: their names are read while
 * it lives, for at most a twentieth of our time. */
static void learn_contexts(struct alloc_recorder *r, u64 now)
{
	cleanup(result_groups_clear) struct recorder_groups groups = { 0 };
	struct error ignored;

	if (now - r->contexts_learned_ns < 20 * r->contexts_cost_ns)
		return;
	if (result_groups(r, 0, &groups, &ignored) == 0)
		result_profile_name_contexts(r, &groups, &ignored);
	r->contexts_learned_ns = clock_now_ns();
	r->contexts_cost_ns = r->contexts_learned_ns - now;
}

static void learn(struct alloc_recorder *r, u64 now)
{
	bool contexts = false;

	for (size_t i = 0; i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];

		if (!tracee_names_are_due(t, now))
			continue;
		tracee_names_learn(t);
		contexts |= tracee_has_contexts(t);
	}
	if (contexts)
		learn_contexts(r, now);
}

/* What was spent so far, by what a hit is known to cost. */
static bool passes_budget(struct alloc_recorder *r, u64 now)
{
	const volatile struct alloc_counters *c = engine_bpf_counters(r->engine);
	const struct guard_sample sample = {
		.hits = c->hits,
		.allocations = c->allocs + c->reallocs,
		.walks = c->walks,
		.frames = c->frames,
	};

	return budget_note(&r->budget, now, cpu_ns(r), guard_cost_ns(&r->guard.costs, &sample));
}

int recorder_bpf_poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
                      struct error *err)
{
	int wait = timeout_ms < 20 ? timeout_ms : 20;
	u64 deadline = clock_now_ns() + (u64)(timeout_ms > 0 ? timeout_ms : 0) * 1000000, now;
	bool passed = false;
	int rc;

	do {
		rc = engine_bpf_poll(r->engine, follow_is_behind(r) ? 0 : wait, follow_note, r,
		                     err);
		if (rc < 0)
			return rc;
		follow_work(r);
		now = clock_now_ns();
		if (now - r->tended_ns >= TEND_NS) {
			r->tended_ns = now;
			rc = engine_bpf_table_tend(r->engine, err);
			if (rc < 0)
				return rc;
			if (r->options.peak)
				watch_peak(r);
			learn(r, now);
			bpf_before_tend(r, now);
			passed = passes_budget(r, now);
		}
		/* a child that waits to be taken in is not ended */
		r->ended = follow_is_behind(r) ? ALLOC_RUNNING : recorder_all_ended(r);
		if (!r->ended && passed)
			r->ended = ALLOC_ENDED_BUDGET;
		if (!r->ended && guard_is_due(&r->guard, now)) {
			if (guard_watch(&r->guard, r->engine) && !(r->options.budget > 0))
				r->ended = ALLOC_ENDED_GUARD;
			note_threads(r);
		}
	} while (!r->ended && now < deadline && !alloc_interrupted);
	*ended = r->ended;
	return 0;
}

/* ---- end ---- */

void recorder_bpf_detach(struct alloc_recorder *r)
{
	struct engine_bpf_links all = { 0 };
	struct error ignored;

	bpf_before_look(r);
	follow_give_up(r);
	for (size_t i = 0; i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];

		if (t->wants_refresh && !t->ended && engine_bpf_is_active(r->engine, t->slot))
			tracee_look_again(t, r->engine);
		tracee_names_learn(t);
	}
	for (size_t i = 0; i < r->n_tracees; i++) {
		engine_bpf_end_process(r->engine, r->tracees[i]->slot);
		if (tracee_give_links(r->tracees[i], &all, &ignored) < 0)
			tracee_detach(r->tracees[i]);
	}
	engine_bpf_links_detach(&all);
	engine_bpf_links_wait(r->engine);
}

void recorder_bpf_close(struct alloc_recorder *r)
{
	recorder_close_tracees(r); /* their links are the engine's */
	engine_bpf_close(r->engine);
	result_groups_clear(&r->peak);
	guard_clear(&r->guard);
}

const struct engine_ops recorder_bpf_ops = {
	.name = "bpf",
	.check = "engine bpf",
	.title = "every allocation, by probes of the kernel",
	.possible = engine_possible_bpf,
	.accepts = accepts,
	.open = recorder_bpf_open,
	.poll = recorder_bpf_poll,
	.held_bytes = recorder_bpf_held_bytes,
	.detach = recorder_bpf_detach,
	.result = result_profile_make,
	.close = recorder_bpf_close,
};
