/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_map.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "capture/capture.h"
#include "capture/pace.h"

struct tracing {
	const struct capture_map_options *o;
	struct tracer *tracer;
	enum tracer_ended ended;
};

static int poll_tracer(void *arg, int ms, struct error *err)
{
	struct tracing *c = arg;
	int r = tracer_poll(c->tracer, ms, &c->ended, err);

	return r < 0 ? r : c->ended != TRACER_RUNNING;
}

static int look(void *arg, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	const struct tracing *c = arg;
	int r;

	if (!c->o->look)
		return 0;
	r = tracer_result(c->tracer, TRACER_RUNNING, &p, err);
	return r < 0 ? r : c->o->look(c->o->arg, p, err);
}

static void tell_progress(void *arg, double seconds)
{
	const struct tracing *c = arg;

	if (c->o->progress)
		c->o->progress(c->o->arg, seconds, tracer_mapped_bytes(c->tracer));
}

static int wait_for_end(struct tracing *c, struct pace *pace, struct error *err)
{
	static const enum tracer_ended ended[] = {
		[PACE_BY_SIGNAL] = TRACER_ENDED_SIGNAL,
		[PACE_BY_DURATION] = TRACER_ENDED_DURATION,
	};
	int r = pace_run(pace, err);

	if (r > 0)
		c->ended = ended[r];
	return r < 0 ? r : 0;
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
	struct giving giving = { .o = c->o };
	struct pace pace = {
		.every_s = c->o->every_s,
		.poll = poll_tracer,
		.look = look,
		.progress = tell_progress,
		.arg = c,
	};
	int r = 0;

	pace_begin(&pace);
	pace.duration_s = duration(c);
	if (c->o->begun)
		r = c->o->begun(c->o->arg, err);
	if (r == 0)
		r = capture_make_ready_file(c->o->ready_file, err);
	if (r == 0)
		r = wait_for_end(c, &pace, err);
	if (r == 0)
		r = tracer_result(c->tracer, c->ended, &p, err);
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
