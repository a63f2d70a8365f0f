/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Programs that sample their allocations themselves: the exact engine's probes, at the
 * trace points where they say so (runtime/usdt), and blocks that stand for more than
 * themselves.
 */

#include <errno.h>
#include <string.h>

#include "alloc/engine_possible.h"
#include "alloc/recorder.h"
#include "runtime/usdt/usdt.h"

static int accepts(const struct engine_request *q, struct error *err)
{
	if (!q->options->allocators)
		return recorder_bpf_ops.accepts(q, err);
	error_set(err, ENOTSUP, "--engine usdt records what the program itself calls its memory");
	return error_hint(err, "leave --allocator out, or take --engine bpf");
}

static int open_all(struct alloc_recorder *r, const struct engine_request *q, struct error *err)
{
	r->weighted = true;
	r->allocators = strdup(usdt_runtime.name);
	return r->allocators ? recorder_bpf_ops.open(r, q, err) : error_oom(err);
}

/* Everything else is the other's: see engine.c's first use of a table. */
static int poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
                struct error *err)
{
	return recorder_bpf_ops.poll(r, timeout_ms, ended, err);
}

static uint64_t held_bytes(const struct alloc_recorder *r)
{
	return recorder_bpf_ops.held_bytes(r);
}

static void detach(struct alloc_recorder *r)
{
	recorder_bpf_ops.detach(r);
}

static int result(struct alloc_recorder *r, enum alloc_ended ended,
                  const struct alloc_filter *filter, struct profile **ret, struct error *err)
{
	return recorder_bpf_ops.result(r, ended, filter, ret, err);
}

static void close_all(struct alloc_recorder *r)
{
	recorder_bpf_ops.close(r);
}

const struct engine_ops recorder_usdt_ops = {
	.name = "usdt",
	.check = "engine usdt",
	.title = "samples that the program takes itself",
	.possible = engine_possible_bpf,
	.accepts = accepts,
	.open = open_all,
	.poll = poll,
	.held_bytes = held_bytes,
	.detach = detach,
	.result = result,
	.close = close_all,
};
