/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/alloc.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/recorder.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

volatile sig_atomic_t alloc_interrupted;

const char *alloc_ended_text(enum alloc_ended e)
{
	static const char *const texts[] = { "running", "duration", "signal", "condition",
		                             "exit",    "exec",     "guard",  "budget" };

	return (size_t)e < ARRAY_SIZE(texts) ? texts[e] : "unknown";
}

static int start(const struct engine_request *q, const struct engine_ops *ops,
                 struct alloc_recorder **ret, struct error *err)
{
	cleanup(alloc_freep) struct alloc_recorder *r = calloc(1, sizeof(*r));
	const struct alloc_options *o = q->options;
	int rc;

	if (!r)
		return error_oom(err);
	r->ops = ops;
	r->options = *o;
	if (o->allocators && !(r->allocators = strdup(o->allocators)))
		return error_oom(err);
	rc = ops->open(r, q, err);
	/* one that costs too much is the caller's to look at */
	if (rc == 0 || r->over_budget)
		*ret = take_ptr(r);
	return rc;
}

/* Exactly would cost too much: by the agent, if it costs less than that. */
static int start_cheaper(const struct engine_request *q, const struct alloc_recorder *counted,
                         struct alloc_recorder **ret, struct error *err)
{
	const struct error exact = *err;
	char cost[BUDGET_WORDS];
	struct error why;
	int rc = recorder_agent_ops.accepts(q, &why);

	const bool passing_is_too_much = rc == 0 && counted->passing_share > q->options->budget;

	if (passing_is_too_much)
		rc = error_set(&why, EBUSY, "calls that pass the agent would cost %.3g %%",
		               100 * counted->passing_share);
	if (rc == 0)
		rc = start(q, &recorder_agent_ops, ret, &why);
	if (rc < 0) {
		error_set(err, -exact.code, "%.200s; nor by --engine agent: %.170s", exact.message,
		          why.message);
		/* the cheaper way out, with some room for samples */
		return passing_is_too_much
		               ? error_hint(err, "--budget %.0f%% is enough for the agent; %.*s",
		                            fmin(ceil(125 * counted->passing_share), 100),
		                            (int)strcspn(exact.hint, ";"), exact.hint)
		               : error_hint(err, "%s", exact.hint);
	}
	budget_words(counted->exact_share, cost);
	log_note(LOG_INFO,
	         "recording exactly would cost %s of its processor time, the budget is "
	         "%.3g %%: blocks are sampled (--engine agent)",
	         cost, 100 * q->options->budget);
	return 0;
}

/* The cheapest that is exact enough: exactly where that is within the budget. */
static int start_in_budget(const struct engine_request *q, const struct engine_ops *ops,
                           struct alloc_recorder **ret, struct error *err)
{
	cleanup(alloc_freep) struct alloc_recorder *r = NULL;
	struct alloc_options exact = *q->options;
	struct engine_request as_before = *q;
	struct error why;
	int rc;

	/* what only one engine does is no question of the default budget */
	if (ops == &recorder_bpf_ops && !exact.budget_asked && exact.budget > 0 &&
	    recorder_agent_ops.accepts(q, &why) < 0) {
		exact.budget = 0;
		as_before.options = &exact;
		return start(&as_before, ops, ret, err);
	}
	rc = start(q, ops, &r, err);
	if (rc < 0 && r)
		return start_cheaper(q, r, ret, err);
	if (rc < 0)
		return rc;
	/* the maximum may have been before */
	r->may_hand_over = ops == &recorder_bpf_ops && !q->options->peak &&
	                   recorder_agent_ops.accepts(q, &why) == 0;
	*ret = take_ptr(r);
	return 0;
}

/* ---- from one engine to the other ---- */

static int start_agent_in(struct alloc_recorder *r, const pid_t *pids, size_t n,
                          struct alloc_recorder **ret, struct error *err)
{
	struct alloc_options o = r->options;
	const struct engine_request q = { &o, pids, n, false };

	o.allocators = r->allocators;
	return n ? start(&q, &recorder_agent_ops, ret, err)
	         : error_set(err, ESRCH, "all processes have ended");
}

/* The agent takes over in all that still live. What the first engine knows of blocks that
 * are held goes with it: which of them are freed in between nobody sees. Their bytes are
 * in the second one's row of what was there before. On failure the first one's result
 * stands. */
static int hand_over(struct alloc_recorder *r, struct error *err)
{
	cleanup(alloc_freep) struct alloc_recorder *next = NULL;
	cleanup_free pid_t *pids = calloc(r->n_tracees + 1, sizeof(*pids));
	struct recorder_handover handover = { .held_bytes = alloc_held_bytes(r) };
	const uint64_t begun = clock_now_ns();
	struct alloc_recorder first;
	size_t n = 0;
	int rc;

	if (!pids)
		return error_oom(err);
	for (size_t i = 0; i < r->n_tracees; i++) {
		if (!r->tracees[i]->ended)
			pids[n++] = r->tracees[i]->pid;
	}
	alloc_detach(r);
	rc = start_agent_in(r, pids, n, &next, err);
	if (rc < 0)
		return rc;
	handover.after_seconds = (double)(begun - r->begun_ns) / 1e9;
	handover.gap_seconds = (double)(clock_now_ns() - begun) / 1e9;
	next->handover = handover;
	first = *r;
	*r = *next;
	*next = first;
	log_note(
		LOG_INFO,
		"recording exactly came to cost more than %.3g %% after %.1f s: blocks are sampled "
		"from now on (--engine agent)",
		100 * r->options.budget, handover.after_seconds);
	return 0;
}

int alloc_start(const pid_t *pids, size_t n_pids, const struct alloc_options *o,
                bool started_stopped, struct alloc_recorder **ret, struct error *err)
{
	const struct engine_request q = { o, pids, n_pids, started_stopped };
	cleanup(alloc_freep) struct alloc_recorder *r = NULL;
	const struct engine_ops *ops;
	int rc = engine_choose(&q, &ops, err);

	if (rc < 0)
		return rc;
	rc = o->engine ? start(&q, ops, &r, err) : start_in_budget(&q, ops, &r, err);
	if (rc == 0)
		*ret = take_ptr(r);
	return rc;
}

/* It has left: what it cost, and what would let it stay. */
static void say_budget(const struct alloc_recorder *r)
{
	double most = budget_lately(&r->budget);

	for (size_t i = 0; i < r->n_tracees; i++) {
		const struct engine_agent *e = r->tracees[i]->agent;

		most = fmax(most, e ? budget_lately(&e->budget) : 0);
	}
	log_note(LOG_WARN,
	         "the recording has ended, for it came to cost %.3g %% of the target's processor "
	         "time; the budget is %.3g %% (--budget %.0f%% allows more)",
	         100 * most, 100 * r->options.budget, fmin(ceil(150 * most), 100));
}

int alloc_poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended, struct error *err)
{
	int rc = r->ops->poll(r, timeout_ms, ended, err);
	struct error why;

	if (rc < 0 || *ended != ALLOC_ENDED_BUDGET || alloc_interrupted)
		return rc;
	if (!r->may_hand_over)
		say_budget(r);
	else if (hand_over(r, &why) == 0)
		*ended = ALLOC_RUNNING;
	else
		log_note(LOG_WARN, "the recording ends, for --engine agent cannot go on: %s",
		         why.message);
	return 0;
}

uint64_t alloc_held_bytes(const struct alloc_recorder *r)
{
	return r->ops->held_bytes(r);
}

void alloc_detach(struct alloc_recorder *r)
{
	if (r->detached)
		return;
	r->detached = true;
	r->ended_ns = clock_now_ns();
	r->ops->detach(r);
	r->detach_seconds = (double)(clock_now_ns() - r->ended_ns - r->looked_last_ns) / 1e9;
}

int alloc_result(struct alloc_recorder *r, enum alloc_ended ended,
                 const struct alloc_filter *filter, struct profile **ret, struct error *err)
{
	return r->ops->result(r, ended, filter, ret, err);
}

struct alloc_recorder *alloc_free(struct alloc_recorder *r)
{
	if (!r)
		return NULL;
	r->ops->close(r);
	recorder_close_tracees(r);
	free(r->tracees);
	free(r->left_out);
	free(r->events);
	hash_map_clear(&r->by_slot);
	modules_clear(&r->modules);
	symbol_pool_free(r->pool);
	free(r->allocators);
	free(r);
	return NULL;
}

void alloc_freep(struct alloc_recorder **r)
{
	*r = alloc_free(*r);
}
