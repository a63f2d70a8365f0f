/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/recorder.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"

volatile sig_atomic_t alloc_interrupted;

const char *alloc_ended_text(enum alloc_ended e)
{
	static const char *const texts[] = { "running", "duration", "signal", "condition",
		                             "exit",    "exec",     "guard",  "budget" };

	return (size_t)e < ARRAY_SIZE(texts) ? texts[e] : "unknown";
}

int alloc_start(const pid_t *pids, size_t n_pids, const struct alloc_options *o,
                bool started_stopped, struct alloc_recorder **ret, struct error *err)
{
	cleanup(alloc_freep) struct alloc_recorder *r = NULL;
	const struct engine_request q = { o, pids, n_pids, started_stopped };
	const struct engine_ops *ops;
	int rc = engine_choose(&q, &ops, err);

	if (rc < 0)
		return rc;
	r = calloc(1, sizeof(*r));
	if (!r)
		return error_oom(err);
	r->ops = ops;
	r->options = *o;
	if (o->allocators && !(r->allocators = strdup(o->allocators)))
		return error_oom(err);
	rc = ops->open(r, &q, err);
	if (rc < 0)
		return rc;
	*ret = take_ptr(r);
	return 0;
}

int alloc_poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended, struct error *err)
{
	return r->ops->poll(r, timeout_ms, ended, err);
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
	r->detach_seconds = (double)(clock_now_ns() - r->ended_ns) / 1e9;
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
