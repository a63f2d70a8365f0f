/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The sampling engine in a recorder: one process, from inside. */

#include <errno.h>

#include "alloc/agent_before.h"
#include "alloc/agent_samples.h"
#include "alloc/engine_possible.h"
#include "alloc/recorder.h"
#include "alloc/result_agent.h"
#include "base/clock.h"

/* What the sampling engine does not do so far; none of it is done halfway. */
static int accepts(const struct engine_request *q, struct error *err)
{
	const struct alloc_options *o = q->options;
	const char *what = NULL;

	if (o->follow)
		what = "--follow";
	else if (o->peak)
		what = "--peak";
	else if (o->no_stacks)
		what = "--no-stacks";
	else if (q->n_pids > 1)
		what = "more than one process";
	if (!what)
		return 0;
	error_set(err, ENOTSUP, "--engine agent does not do %s so far", what);
	return error_hint(err, "--engine bpf does");
}

static int open_one(struct alloc_recorder *r, const struct engine_request *q, struct error *err)
{
	u64 begun = clock_now_ns();
	int rc = recorder_open(r, q->pids, 1, err);

	if (rc == 0)
		rc = engine_agent_open(r->tracees[0], &r->options, &r->agent, err);
	recorder_begin(r, begun);
	return rc;
}

/* Names of contexts that may be gone at the end, for at most a twentieth of our time. */
static void learn(struct alloc_recorder *r)
{
	const u64 now = clock_now_ns();
	struct error ignored;

	if (!tracee_names_are_due(r->tracees[0], now))
		return;
	tracee_names_learn(r->tracees[0]);
	if (now - r->contexts_learned_ns < 20 * r->contexts_cost_ns)
		return;
	result_agent_learn(r, &ignored);
	r->contexts_learned_ns = clock_now_ns();
	r->contexts_cost_ns = r->contexts_learned_ns - now;
}

static int poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
                struct error *err)
{
	int rc;

	agent_before_tend(r);
	rc = r->ended ? 0 : engine_agent_poll(r->agent, timeout_ms, &r->ended, err);

	if (r->ended && !r->tracees[0]->ended) {
		r->tracees[0]->ended = r->ended;
		r->tracees[0]->ended_ns = clock_now_ns();
	}
	if (rc == 0 && !r->ended && r->tracees[0]->runtimes[0]->has_contexts)
		learn(r);
	*ended = r->ended;
	return rc;
}

static uint64_t held_bytes(const struct alloc_recorder *r)
{
	return (uint64_t)r->agent->held;
}

static void detach(struct alloc_recorder *r)
{
	struct error ignored;

	/* what is held lies in the target: read it as long as it is there (exact mode
	 * does when nothing moves any more) */
	if (r->agent->attached && !r->agent->exact && agent_samples_look(r->agent, &ignored) == 0)
		agent_before_look(r);
	engine_agent_detach(r->agent);
	if (r->agent->exact && !r->tracees[0]->ended)
		agent_before_look(r);
}

static void close_it(struct alloc_recorder *r)
{
	engine_agent_close(r->agent);
}

const struct engine_ops recorder_agent_ops = {
	.name = "agent",
	.check = "engine agent",
	.title = "samples, from inside the process",
	.lends = true,
	.possible = engine_possible_agent,
	.covers = engine_possible_patches,
	.accepts = accepts,
	.open = open_one,
	.poll = poll,
	.held_bytes = held_bytes,
	.detach = detach,
	.result = result_agent_make,
	.close = close_it,
};
