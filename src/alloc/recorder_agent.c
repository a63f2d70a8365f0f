/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The sampling engine in a recorder: an agent in each process. */

#include "alloc/recorder_agent.h"

#include <errno.h>
#include <time.h>

#include "alloc/agent_before.h"
#include "alloc/agent_follow.h"
#include "alloc/agent_samples.h"
#include "alloc/engine_possible.h"
#include "alloc/recorder.h"
#include "alloc/result_agent.h"
#include "base/clock.h"
#include "base/log.h"

#define FOLLOW_NS     2000000ull /* a child allocates already */
#define QUICK_LOOK_NS 50000000ull
/* bench/agent.py, of a pair whose stack is the same as before: 69 ns */
#define EXACT_MALLOC_NS 45.0
#define EXACT_FREE_NS   25.0

/* What the sampling engine does not do so far; none of it is done halfway. */
static int accepts(const struct engine_request *q, struct error *err)
{
	const struct alloc_options *o = q->options;
	const char *what = NULL;

	if (o->peak && o->exact)
		what = "--peak with --exact";
	else if (o->no_stacks)
		what = "--no-stacks";
	if (!what)
		return 0;
	error_set(err, ENOTSUP, "--engine agent does not do %s so far", what);
	return error_hint(err, "--engine bpf does");
}

/* ---- start ---- */

int recorder_agent_attach(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	int rc = engine_agent_open(t, &r->options, &t->agent, err);

	t->attached_ns = clock_now_ns();
	return rc;
}

/* Of several processes one that cannot be recorded is left out, the others go on. */
static int attach_all(struct alloc_recorder *r, struct error *err)
{
	struct error first = { 0 };

	for (size_t i = 0; i < r->n_tracees && !alloc_interrupted;) {
		struct tracee *t = r->tracees[i];
		struct error why = { 0 };

		if (recorder_agent_attach(r, t, &why) == 0) {
			i++;
		} else if (r->n_tracees == 1) {
			*err = first.code ? first : why;
			return err->code;
		} else {
			if (!first.code)
				first = why;
			recorder_leave_out(r, t->pid, &why);
			recorder_drop(r, i);
		}
		recorder_agent_serve(r);
	}
	return 0;
}

static int open_all(struct alloc_recorder *r, const struct engine_request *q, struct error *err)
{
	u64 begun = clock_now_ns();
	int rc = recorder_open(r, q->pids, q->n_pids, err);

	if (rc == 0)
		rc = agent_follow_begin(r, err);
	if (rc == 0)
		rc = attach_all(r, err);
	recorder_begin(r, begun);
	return rc;
}

/* ---- poll ---- */

static bool is_recorded(const struct tracee *t)
{
	return t->agent && t->agent->attached && !t->ended;
}

static void note_end(struct tracee *t, enum alloc_ended how)
{
	if (!how || t->ended)
		return;
	t->ended = how;
	t->ended_ns = clock_now_ns();
}

/* In exact mode nobody measures: the calls are known, and what one takes at least. Not oftener than
 * their number is read. */
static void note_cost(struct tracee *t)
{
	struct engine_agent *e = t->agent;

	if (e->exact && e->looked_ns > e->budget.noted_ns)
		budget_note(&e->budget, clock_now_ns(), budget_cpu_ns(t->pid),
		            (double)e->exact->sums.objects * EXACT_MALLOC_NS +
		                    (double)e->exact->sums.freed_objects * EXACT_FREE_NS);
}

/* What fails in one process is no reason to leave the others. */
static int serve_one(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	enum alloc_ended how = ALLOC_RUNNING;
	int rc = engine_agent_poll(t->agent, 0, &how, err);

	note_cost(t);
	if (rc < 0 && r->n_tracees > 1) {
		log_note(LOG_WARN, "process %d is not recorded any more: %s", t->pid, err->message);
		how = ALLOC_ENDED_GUARD;
		rc = 0;
	}
	note_end(t, how);
	/* its lock goes: another program may have begun there */
	if (how)
		engine_agent_detach(t->agent);
	if (how == ALLOC_ENDED_EXEC)
		agent_follow_exec(r, t->pid);
	return rc;
}

void recorder_agent_serve(void *arg)
{
	struct alloc_recorder *r = arg;
	struct error ignored;

	for (size_t i = 0; i < r->n_tracees; i++) {
		if (is_recorded(r->tracees[i]))
			serve_one(r, r->tracees[i], &ignored);
	}
}

/* Names of contexts that may be gone at the end, for at most a twentieth of our time. */
static void learn(struct alloc_recorder *r, struct tracee *t)
{
	const u64 now = clock_now_ns();
	struct error ignored;

	if (!tracee_has_contexts(t) || !tracee_names_are_due(t, now))
		return;
	tracee_names_learn(t);
	if (now - r->contexts_learned_ns < 20 * r->contexts_cost_ns)
		return;
	result_agent_learn(t, &ignored);
	r->contexts_learned_ns = clock_now_ns();
	r->contexts_cost_ns = r->contexts_learned_ns - now;
}

/* *rest_ns: until they want to be served again. */
static int round_of(struct alloc_recorder *r, u64 *rest_ns, struct error *err)
{
	int rc = 0;

	*rest_ns = UINT64_MAX;
	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];
		u64 rest;

		if (!is_recorded(t))
			continue;
		agent_before_tend(r, t);
		rc = serve_one(r, t, err);
		if (rc < 0 || t->ended)
			continue;
		learn(r, t);
		rest = engine_agent_rest_ns(t->agent);
		*rest_ns = rest < *rest_ns ? rest : *rest_ns;
	}
	return rc;
}

static uint64_t held_bytes(const struct alloc_recorder *r)
{
	double held = 0;

	for (size_t i = 0; i < r->n_tracees; i++)
		held += r->tracees[i]->agent ? r->tracees[i]->agent->held : 0;
	return (uint64_t)held;
}

/* All processes at once, so that it was held at the same time; another copy for each
 * hundredth of growth. */
static void watch_peak(struct alloc_recorder *r)
{
	const u64 held = held_bytes(r);
	struct error ignored;

	if (held > r->peak_held)
		r->peak_held = held;
	if (r->peak.taken_ns && held < r->peak.bytes + r->peak.bytes / 100 + 1)
		return;
	for (size_t i = 0; i < r->n_tracees; i++) {
		if (r->tracees[i]->agent)
			engine_agent_keep_peak(r->tracees[i]->agent, &ignored);
	}
	r->peak.taken_ns = clock_now_ns();
	r->peak.bytes = held;
}

static int poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
                struct error *err)
{
	const u64 until = clock_now_ns() + (u64)(timeout_ms > 0 ? timeout_ms : 0) * 1000000;
	int rc = 0;

	while (!r->ended) {
		u64 rest, now;

		rc = round_of(r, &rest, err);
		if (r->options.peak)
			watch_peak(r);
		agent_follow_work(r);
		if (recorder_all_ended(r))
			agent_follow_settle(r);
		/* a child that waits to be taken in is not ended */
		r->ended = agent_follow_is_behind(r) ? ALLOC_RUNNING : recorder_all_ended(r);
		now = clock_now_ns();
		if (rc < 0 || r->ended || now >= until || alloc_interrupted)
			break;
		rest = rest < until - now ? rest : until - now;
		if (r->follow)
			rest = rest < FOLLOW_NS ? rest : FOLLOW_NS;
		if (rest)
			nanosleep(&(struct timespec){ 0, (long)rest % 1000000000 }, NULL);
	}
	*ended = r->ended;
	return rc;
}

/* ---- end ---- */

static void look_last(struct alloc_recorder *r, struct tracee *t)
{
	const u64 begun = clock_now_ns();

	agent_before_look(r, t);
	r->looked_last_ns += clock_now_ns() - begun;
}

/* The set lies in the target: it is read as long as it is there (in exact mode when nothing moves
 * any more). What the allocator holds can be read at any time; in a large heap that takes longer
 * than the target should wait for its full speed. */
static void detach_one(struct alloc_recorder *r, struct tracee *t)
{
	struct engine_agent *e = t->agent;
	struct error ignored;
	bool later = e->exact;

	if (e->attached && !e->exact && agent_samples_look(e, &ignored) == 0) {
		later = t->before.cost_ns > QUICK_LOOK_NS;
		if (!later)
			agent_before_look(r, t);
	}
	engine_agent_detach(e);
	note_cost(t);
	if (later && !t->ended)
		look_last(r, t);
}

static void detach(struct alloc_recorder *r)
{
	agent_follow_give_up(r);
	for (size_t i = 0; i < r->n_tracees; i++) {
		if (!r->tracees[i]->agent)
			continue;
		detach_one(r, r->tracees[i]);
		/* the last ones wait for the first */
		for (size_t k = i + 1; k < r->n_tracees; k++) {
			enum alloc_ended how = ALLOC_RUNNING;
			struct error ignored;

			if (is_recorded(r->tracees[k]))
				engine_agent_poll(r->tracees[k]->agent, 0, &how, &ignored);
			note_end(r->tracees[k], how);
		}
	}
}

static void close_it(struct alloc_recorder *r)
{
	for (size_t i = 0; i < r->n_tracees; i++)
		r->tracees[i]->agent = engine_agent_close(r->tracees[i]->agent);
	r->follow = agent_follow_close(r->follow);
}

const struct engine_ops recorder_agent_ops = {
	.name = "agent",
	.check = "engine agent",
	.title = "samples, from inside the process",
	.lends = true,
	.possible = engine_possible_agent,
	.covers = engine_possible_patches,
	.accepts = accepts,
	.open = open_all,
	.poll = poll,
	.held_bytes = held_bytes,
	.detach = detach,
	.result = result_agent_make,
	.close = close_it,
};
