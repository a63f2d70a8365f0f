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
#include "alloc/recorder_bpf.h"
#include "alloc/result_profile.h"
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
	return r->allocators ? recorder_bpf_open(r, q, err) : error_oom(err);
}

const struct engine_ops recorder_usdt_ops = {
	.name = "usdt",
	.check = "engine usdt",
	.title = "samples that the program takes itself",
	.possible = engine_possible_bpf,
	.accepts = accepts,
	.open = open_all,
	.poll = recorder_bpf_poll,
	.held_bytes = recorder_bpf_held_bytes,
	.detach = recorder_bpf_detach,
	.result = result_profile_make,
	.close = recorder_bpf_close,
};
