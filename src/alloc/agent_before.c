/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_before.h"

#include "alloc/agent_samples.h"
#include "alloc/before.h"
#include "alloc/recorder_agent.h"
#include "base/clock.h"

static bool is_wanted(const struct alloc_recorder *r, const struct tracee *t)
{
	return r->options.before || (!r->options.no_before && !t->agent->exact);
}

void agent_before_look(struct alloc_recorder *r, struct tracee *t)
{
	const struct engine_agent *e = t->agent;
	struct before_held held = { 0 };

	if (!is_wanted(r, t))
		return;
	/* the records of stacks would fill up while the heap is read */
	before_read(t, recorder_agent_serve, r);
	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct engine_agent_block *b = &e->blocks[i];
		const double w = agent_samples_weight(e, b->size, b->seq);

		interval_add_bytes(&held.bytes, (double)b->size, w);
		held.rounding += w * (double)before_rounding(t, b->size);
	}
	interval_of(&held.bytes, &held.low, &held.high);
	if (!e->exact && !e->n_blocks)
		held.high = INTERVAL_WITHOUT_SAMPLE * (double)agent_rate_coarsest(&e->rate);
	before_take(t, &held);
}

void agent_before_tend(struct alloc_recorder *r, struct tracee *t)
{
	const struct before *b = &t->before;
	struct error ignored;

	/* an exact set is dear to read: once, while it is small */
	if (t->agent->exact && b->is_looked)
		return;
	if (!is_wanted(r, t) || !t->agent->attached || t->ended ||
	    !before_is_due(b, clock_now_ns()))
		return;
	if (agent_samples_look(t->agent, &ignored) == 0)
		agent_before_look(r, t);
}
