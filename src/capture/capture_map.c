/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_map.h"

#include <stdint.h>

#include "alloc/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "capture/capture.h"

enum { POLL_MS = 100 };

struct tracing {
	const struct capture_map_options *o;
	struct tracer *tracer;
	double duration_s;
	uint64_t begun_ns, looked_ns, told_ns;
};

static int look(struct tracing *c, uint64_t now, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int r;

	if (!c->o->every_s || !c->o->look || (double)(now - c->looked_ns) < c->o->every_s * 1e9)
		return 0;
	c->looked_ns = now;
	r = tracer_result(c->tracer, TRACER_RUNNING, &p, err);
	return r < 0 ? r : c->o->look(c->o->arg, p, err);
}

static void tell_progress(struct tracing *c, uint64_t now)
{
	if (!c->o->progress || now - c->told_ns < 1000000000ULL)
		return;
	c->told_ns = now;
	c->o->progress(c->o->arg, (double)(now - c->begun_ns) / 1e9,
	               tracer_mapped_bytes(c->tracer));
}

static int poll_ms(const struct tracing *c, uint64_t now)
{
	double left = c->duration_s * 1e3 - (double)(now - c->begun_ns) / 1e6;

	if (!c->duration_s || left > POLL_MS)
		return POLL_MS;
	return left < 0 ? 0 : (int)left + 1;
}

static enum tracer_ended why_now(const struct tracing *c, uint64_t now)
{
	if (alloc_interrupted)
		return TRACER_ENDED_SIGNAL;
	if (c->duration_s && (double)(now - c->begun_ns) >= c->duration_s * 1e9)
		return TRACER_ENDED_DURATION;
	return TRACER_RUNNING;
}

static int wait_for_end(struct tracing *c, enum tracer_ended *ended, struct error *err)
{
	for (;;) {
		uint64_t now = clock_now_ns();
		int r;

		*ended = why_now(c, now);
		if (*ended)
			return 0;
		r = tracer_poll(c->tracer, poll_ms(c, now), ended, err);
		if (r < 0 || *ended)
			return r;
		now = clock_now_ns();
		tell_progress(c, now);
		r = look(c, now, err);
		if (r < 0)
			return r;
	}
}

static double duration(const struct tracing *c)
{
	if (c->o->duration_s || !c->o->time_box_s || !tracer_taxes_everyone(c->tracer))
		return c->o->duration_s;
	log_note(LOG_INFO, "so it ends by itself after %.0f s; -d TIME says otherwise",
	         c->o->time_box_s);
	return c->o->time_box_s;
}

struct giving {
	const struct capture_map_options *o;
	const struct profile *profile;
};

static int give_range(void *arg, const struct tracer_range *r, struct error *err)
{
	const struct giving *g = arg;

	return g->o->range(g->o->arg, g->profile, r, err);
}

static int record(struct tracing *c, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	enum tracer_ended ended = TRACER_RUNNING;
	struct giving giving = { .o = c->o };
	int r = 0;

	c->begun_ns = c->looked_ns = c->told_ns = clock_now_ns();
	c->duration_s = duration(c);
	if (c->o->begun)
		r = c->o->begun(c->o->arg, err);
	if (r == 0)
		r = capture_make_ready_file(c->o->ready_file, err);
	if (r == 0)
		r = wait_for_end(c, &ended, err);
	if (r == 0)
		r = tracer_result(c->tracer, ended, &p, err);
	giving.profile = p;
	if (r == 0 && c->o->range)
		r = tracer_ranges(c->tracer, p, give_range, &giving, err);
	if (r == 0)
		*ret = take_ptr(p);
	return r;
}

int capture_map(const pid_t *pids, size_t n_pids, const struct capture_map_options *o,
                struct profile **ret, struct error *err)
{
	cleanup(tracer_freep) struct tracer *tracer = NULL;
	struct tracing c = { .o = o };
	int r = tracer_start(pids, n_pids, &o->tracer, &tracer, err);

	if (r < 0)
		return r;
	c.tracer = tracer;
	return record(&c, ret, err);
}
