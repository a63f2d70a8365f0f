/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/engine_agent_exact.h"

#include <errno.h>

#include "alloc/agent_exact.h"
#include "alloc/agent_still.h"
#include "base/array.h"
#include "base/clock.h"

enum {
	ALIVE_AGAIN_MS = 2000, /* behind the deadline: then the agent gives up */
	LOOK_COST = 20,        /* a look takes not more than this part of the time */
};

static u64 time_stamp(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

/* Ticks of the time stamp counter in a nanosecond. */
static double rate(const struct engine_agent *e)
{
	return (double)(time_stamp() - e->begun_tsc) / (double)(clock_now_ns() - e->begun_ns + 1);
}

int engine_agent_exact_open(struct engine_agent *e, unsigned levels, struct agent_control *control,
                            struct error *err)
{
	const u64 alive = (u64)(rate(e) * ALIVE_AGAIN_MS * 1e6);
	int r = agent_exact_open(e->inject, e->tracee, e->base, levels, alive, e->stacks, &e->exact,
	                         err);

	if (r == 0) {
		control->exact = e->exact->at;
		control->exact_on = 1;
	}
	/* they are in its table in the target, which the patches' undo is told of */
	if (r == 0) {
		e->table.exact_at = e->exact->at;
		e->table.exact_bytes = e->exact->head.bytes;
	}
	return r;
}

static void take_counters(struct engine_agent *e, u64 cut)
{
	const struct agent_exact_counters *c = &e->exact->counters;

	e->counters.claims = c->claims;
	e->stacks_cut |= c->cut != cut;
}

int engine_agent_exact_drain(struct engine_agent *e, struct error *err)
{
	const u64 at = e->base + AGENT_CODE_BYTES + offsetof(struct agent_data, counters);
	const u64 cut = e->exact->counters.cut;
	int r = agent_exact_tend(e->exact, &e->table, err);

	if (r == 0)
		r = inject_read(e->inject, at, &e->counters, sizeof(e->counters), err);

	e->n_drained = 0;
	take_counters(e, cut);
	return r;
}

/* ---- the set ---- */

struct taking {
	struct engine_agent *e;
	u64 now_tsc, now_ns;
	double rate;
};

static int add_block(void *arg, const struct agent_exact_found *f, struct error *err)
{
	const struct taking *t = arg;
	struct engine_agent *e = t->e;
	/* both numbers go round, some times in a year */
	const u32 age = (u32)(t->now_tsc >> AGENT_EXACT_BIRTH_SHIFT) - f->birth;
	const double ns = (double)((u64)age << AGENT_EXACT_BIRTH_SHIFT) / t->rate;
	int r = array_reserve(&e->blocks, &e->cap_blocks, e->n_blocks + 1, err);

	if (r < 0)
		return r;
	e->blocks[e->n_blocks++] = (struct engine_agent_block){
		.size = f->size,
		.context = f->context,
		.stack = f->stack,
		.birth_ns = ns < (double)t->now_ns ? t->now_ns - (u64)ns : 0,
	};
	e->held += (double)f->size;
	return 0;
}

int engine_agent_exact_look(struct engine_agent *e, struct error *err)
{
	const struct taking t = { e, time_stamp(), clock_now_ns(), rate(e) };
	int r;

	e->n_blocks = 0;
	e->held = 0;
	r = agent_exact_look(e->exact, add_block, (void *)&t, err);
	/* stacks that came while the set was read */
	if (r == 0)
		r = agent_exact_learn(e->exact, err);
	for (size_t i = 0; i < e->n_blocks; i++)
		e->blocks[i].stack = agent_exact_local(e->exact, e->blocks[i].stack);
	if (r == 0)
		r = agent_exact_sum_stacks(e->exact, err);
	e->torn = e->exact->torn;
	e->looked_ns = clock_now_ns();
	e->exact_look_ns = e->looked_ns;
	e->exact_look_cost_ns = e->looked_ns - t.now_ns;
	if (r == 0 && e->held > (double)e->peak)
		e->peak = (u64)e->held;
	return r;
}

int engine_agent_exact_pulse(struct engine_agent *e, struct error *err)
{
	const struct agent_exact_sums *s = &e->exact->sums;
	int r;

	if (clock_now_ns() - e->exact_look_ns > LOOK_COST * e->exact_look_cost_ns)
		return engine_agent_exact_look(e, err);
	r = agent_exact_read_sums(e->exact, err);
	e->looked_ns = clock_now_ns();
	e->held = s->bytes > s->freed_bytes ? (double)(s->bytes - s->freed_bytes) : 0;
	if (r == 0 && e->held > (double)e->peak)
		e->peak = (u64)e->held;
	return r;
}

int engine_agent_exact_stop(struct engine_agent *e, struct error *err)
{
	const struct target *t = e->tracee->target;
	int r = agent_still_undo(e->inject, t, e->base, &e->table, err);

	/* a thread that stays may change the set while it is read: that is as before */
	if (r == 0)
		agent_still_wait(e->inject, t, e->base, &e->table, err);
	return r < 0 ? r : engine_agent_exact_look(e, err);
}
