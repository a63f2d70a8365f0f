/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "alloc/agent_samples.h"
#include "alloc/engine_possible.h"
#include "alloc/follow.h"
#include "alloc/recorder.h"
#include "alloc/result_agent.h"
#include "alloc/result_profile.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

enum {
	DEFAULT_FIRST_LEVEL = 1 << 18,
	ROW_HEADROOM = 1 << 18, /* for modules that come later */
	MANY_THREADS = 512,     /* whose waiting is read every second */
};

volatile sig_atomic_t alloc_interrupted;

#define TEND_NS 20000000ULL

const char *alloc_ended_text(enum alloc_ended e)
{
	static const char *const texts[] = { "running", "duration", "signal", "condition",
		                             "exit",    "exec",     "guard",  "budget" };

	return (size_t)e < ARRAY_SIZE(texts) ? texts[e] : "unknown";
}

/* ---- start ---- */

static int open_tracees(struct alloc_recorder *r, const pid_t *pids, size_t n, struct error *err)
{
	struct error first = { 0 };

	for (size_t i = 0; i < n; i++) {
		struct tracee *t;
		struct error why = { 0 };
		int rc = tracee_open(pids[i], r->n_slots, r->pool, r->allocators, &t, &why);

		if (rc == 0)
			rc = recorder_keep(r, t, &why);
		if (rc == 0)
			r->n_slots++;
		else if (!first.code)
			first = why;
		/* of several processes some may be gone or of another kind */
		if (rc < 0 && n > 1)
			log_note(LOG_WARN, "process %d is left out: %s", pids[i], why.message);
	}
	if (r->n_tracees)
		return 0;
	*err = first;
	if (n > 1) {
		error_set(err, -first.code, "none of the %zu processes can be recorded", n);
		error_hint(err, "%s", first.hint);
	}
	return err->code;
}

/* Each probed function takes up to two descriptors in each process. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

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

/* Over when every process is; why: as the last of them. */
static enum alloc_ended all_ended(const struct alloc_recorder *r)
{
	const struct tracee *last = r->tracees[0];

	for (size_t i = 0; i < r->n_tracees; i++) {
		if (!r->tracees[i]->ended)
			return ALLOC_RUNNING;
		if (r->tracees[i]->ended_ns > last->ended_ns)
			last = r->tracees[i];
	}
	return last->ended;
}

/* A process that ends while we attach to it is no reason to leave the others. */
static int forgive_ended(struct alloc_recorder *r, struct tracee *t, int rc, struct error *err)
{
	if (rc >= 0 || !target_has_ended(t->target))
		return rc;
	recorder_end(r, t, ALLOC_ENDED_EXIT);
	if (!all_ended(r))
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
	error_set(err, EBUSY,
	          "recording exactly would slow the target down about %.1fx (%lu allocator calls a "
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

static int count_first(struct alloc_recorder *r, struct error *err)
{
	int rc = calibrate_run(r->engine, &r->modules, r->pool, &r->guard.costs, err);

	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		rc = tracee_attach_counting(r->tracees[i], r->engine, err);
		rc = forgive_ended(r, r->tracees[i], rc, err);
	}
	note_threads(r);
	if (rc == 0)
		guard_count(&r->guard, r->engine);
	for (size_t i = 0; i < r->n_tracees; i++)
		tracee_detach(r->tracees[i]);
	if (rc < 0)
		return rc;
	log_note(LOG_INFO,
	         "%lu allocator calls a second on the busiest thread: about %.2fx slower "
	         "while recording",
	         (unsigned long)r->guard.hits_per_second, r->guard.estimate);
	return r->guard.estimate > r->guard.limit ? too_slow(&r->guard, err) : 0;
}

static int64_t unix_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
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
	r->begun_ns = clock_now_ns();
	r->begun_unix_ns = unix_now_ns();
	r->attach_seconds += (double)(r->begun_ns - start) / 1e9;
	note_threads(r);
	guard_begin(&r->guard, r->engine);
	engine_bpf_links_preload(r->engine);
	return 0;
}

static int start(struct alloc_recorder *r, const pid_t *pids, size_t n, bool started_stopped,
                 struct error *err)
{
	u64 begun = clock_now_ns();
	int rc = symbol_pool_new(&r->options.symbols, &r->pool, err);

	if (rc == 0)
		rc = open_tracees(r, pids, n, err);
	if (rc == 0)
		rc = open_engine(r, err);
	if (rc == 0)
		rc = publish_all(r, err);
	if (rc < 0)
		return rc;
	r->attach_seconds = (double)(clock_now_ns() - begun) / 1e9;
	if (!started_stopped)
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

/* What the sampling engine does not do so far; none of it is done halfway. */
static int refuse_for_agent(const struct alloc_options *o, size_t n_pids, struct error *err)
{
	const char *what = NULL;

	if (o->follow)
		what = "--follow";
	else if (o->peak)
		what = "--peak";
	else if (o->no_stacks)
		what = "--no-stacks";
	else if (n_pids > 1)
		what = "more than one process";
	if (!what)
		return 0;
	error_set(err, ENOTSUP, "--engine agent does not do %s so far", what);
	return error_hint(err, "--engine bpf does");
}

static int neither(struct error *err, const struct error *agents)
{
	const struct error bpfs = *err;

	error_set(err, -bpfs.code, "%.200s; nor by --engine agent: %.170s", bpfs.message,
	          agents->message);
	return error_hint(err, "%s", bpfs.hint);
}

/* Exact where that is permitted; else samples, if nothing was asked for that only the
 * exact engine does. What is missing for both is one sentence. */
static int choose_engine(struct alloc_options *o, const pid_t *pids, size_t n_pids,
                         struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	struct error why;
	int r;

	if (o->engine != ALLOC_ENGINE_AUTO)
		return 0;
	o->engine = ALLOC_ENGINE_BPF;
	if (engine_possible(ALLOC_ENGINE_BPF, NULL, err) == 0)
		return 0;
	/* one that cannot be opened is explained better by who needs it */
	if (target_open(pids[0], &t, &why) < 0)
		return 0;
	r = refuse_for_agent(o, n_pids, &why);
	if (r == 0)
		r = engine_possible(ALLOC_ENGINE_AGENT, t, &why);
	if (r < 0)
		return neither(err, &why);
	log_note(LOG_INFO, "%s; blocks are sampled by --engine agent", err->message);
	o->engine = ALLOC_ENGINE_AGENT;
	return 0;
}

static int start_agent(struct alloc_recorder *r, pid_t pid, struct error *err)
{
	u64 begun = clock_now_ns();
	int rc = symbol_pool_new(&r->options.symbols, &r->pool, err);

	if (rc == 0)
		rc = open_tracees(r, &pid, 1, err);
	if (rc == 0)
		rc = engine_agent_open(r->tracees[0], &r->options, &r->agent, err);
	r->begun_ns = clock_now_ns();
	r->begun_unix_ns = unix_now_ns();
	r->attach_seconds = (double)(r->begun_ns - begun) / 1e9;
	return rc;
}

int alloc_start(const pid_t *pids, size_t n_pids, const struct alloc_options *o,
                bool started_stopped, struct alloc_recorder **ret, struct error *err)
{
	cleanup(alloc_freep) struct alloc_recorder *r = NULL;
	struct alloc_options chosen = *o;
	int rc = choose_engine(&chosen, pids, n_pids, err);
	const bool is_agent = chosen.engine == ALLOC_ENGINE_AGENT;

	if (rc == 0 && is_agent)
		rc = refuse_for_agent(o, n_pids, err);
	if (rc < 0)
		return rc;
	r = calloc(1, sizeof(*r));
	if (!r)
		return error_oom(err);
	r->options = chosen;
	if (o->allocators && !(r->allocators = strdup(o->allocators)))
		return error_oom(err);
	r->guard.limit = o->max_slowdown > 0 ? o->max_slowdown : 1.5;
	raise_descriptor_limit();
	rc = is_agent ? start_agent(r, pids[0], err) : start(r, pids, n_pids, started_stopped, err);
	if (rc < 0)
		return rc;
	if (!is_agent)
		note_already_gone(r);
	*ret = take_ptr(r);
	return 0;
}

/* ---- poll ---- */

static void watch_peak(struct alloc_recorder *r)
{
	struct recorder_groups now = { 0 };
	u64 held = alloc_held_bytes(r), start = clock_now_ns();
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
		contexts |= t->n_runtimes && t->runtimes[0]->has_contexts;
	}
	if (contexts)
		learn_contexts(r, now);
}

static int poll_agent(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
                      struct error *err)
{
	int rc = r->ended ? 0 : engine_agent_poll(r->agent, timeout_ms, &r->ended, err);

	if (r->ended && !r->tracees[0]->ended) {
		r->tracees[0]->ended = r->ended;
		r->tracees[0]->ended_ns = clock_now_ns();
	}
	*ended = r->ended;
	return rc;
}

int alloc_poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended, struct error *err)
{
	if (r->agent)
		return poll_agent(r, timeout_ms, ended, err);

	int wait = timeout_ms < 20 ? timeout_ms : 20;
	u64 deadline = clock_now_ns() + (u64)(timeout_ms > 0 ? timeout_ms : 0) * 1000000, now;
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
		}
		/* a child that waits to be taken in is not ended */
		r->ended = follow_is_behind(r) ? ALLOC_RUNNING : all_ended(r);
		if (!r->ended && guard_is_due(&r->guard, now)) {
			if (guard_watch(&r->guard, r->engine))
				r->ended = ALLOC_ENDED_GUARD;
			note_threads(r);
		}
	} while (!r->ended && now < deadline && !alloc_interrupted);
	*ended = r->ended;
	return 0;
}

uint64_t alloc_held_bytes(const struct alloc_recorder *r)
{
	if (r->agent)
		return (uint64_t)r->agent->held;

	const volatile struct alloc_counters *c = engine_bpf_counters(r->engine);
	u64 gone = c->free_bytes + engine_bpf_table_swept_bytes(r->engine), born = c->alloc_bytes;

	return born > gone ? born - gone : 0;
}

/* ---- end ---- */

void alloc_detach(struct alloc_recorder *r)
{
	struct engine_bpf_links all = { 0 };
	u64 start = clock_now_ns();
	struct error ignored;

	if (r->detached)
		return;
	r->detached = true;
	r->ended_ns = start;
	if (r->agent) {
		/* what is held lies in the target: read it as long as it is there (exact mode
		 * does when nothing moves any more) */
		if (r->agent->attached && !r->agent->exact)
			agent_samples_look(r->agent, &ignored);
		engine_agent_detach(r->agent);
		r->detach_seconds = (double)(clock_now_ns() - start) / 1e9;
		return;
	}
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
	r->detach_seconds = (double)(clock_now_ns() - start) / 1e9;
}

int alloc_result(struct alloc_recorder *r, enum alloc_ended ended,
                 const struct alloc_filter *filter, struct profile **ret, struct error *err)
{
	return r->agent ? result_agent_make(r, ended, filter, ret, err)
	                : result_profile_make(r, ended, filter, ret, err);
}

struct alloc_recorder *alloc_free(struct alloc_recorder *r)
{
	if (!r)
		return NULL;
	engine_agent_close(r->agent);
	for (size_t i = 0; i < r->n_tracees; i++)
		tracee_close(r->tracees[i]);
	free(r->tracees);
	free(r->events);
	hash_map_clear(&r->by_slot);
	engine_bpf_close(r->engine);
	modules_clear(&r->modules);
	symbol_pool_free(r->pool);
	result_groups_clear(&r->peak);
	guard_clear(&r->guard);
	free(r->allocators);
	free(r);
	return NULL;
}

void alloc_freep(struct alloc_recorder **r)
{
	*r = alloc_free(*r);
}
