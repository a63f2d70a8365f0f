/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_before.h"

#include "alloc/agent_samples.h"
#include "alloc/before.h"
#include "base/clock.h"

static bool is_wanted(const struct alloc_recorder *r)
{
	return r->options.before || (!r->options.no_before && !r->agent->exact);
}

/* The records of stacks would fill up while the heap is read. */
static void serve(void *arg)
{
	struct alloc_recorder *r = arg;
	struct error ignored;

	if (r->agent->attached && !r->ended)
		engine_agent_poll(r->agent, 0, &r->ended, &ignored);
}

void agent_before_look(struct alloc_recorder *r)
{
	const struct engine_agent *e = r->agent;
	struct before_held held = { 0 };

	if (!is_wanted(r))
		return;
	before_read(r->tracees[0], serve, r);
	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct engine_agent_block *b = &e->blocks[i];
		const double w = agent_samples_weight(e, b->size, b->seq);

		interval_add_bytes(&held.bytes, (double)b->size, w);
		held.rounding += w * (double)before_rounding(r->tracees[0], b->size);
	}
	interval_of(&held.bytes, &held.low, &held.high);
	if (!e->exact && !e->n_blocks)
		held.high = INTERVAL_WITHOUT_SAMPLE * (double)agent_rate_coarsest(&e->rate);
	before_take(r->tracees[0], &held);
}

void agent_before_tend(struct alloc_recorder *r)
{
	const struct before *b = &r->tracees[0]->before;
	struct error ignored;

	/* an exact set is dear to read: once, while it is small */
	if (r->agent->exact && b->is_looked)
		return;
	if (!is_wanted(r) || !r->agent->attached || r->ended || !before_is_due(b, clock_now_ns()))
		return;
	if (agent_samples_look(r->agent, &ignored) == 0)
		agent_before_look(r);
}
