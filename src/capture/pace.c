/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/pace.h"

#include "alloc/alloc.h"
#include "base/clock.h"

enum { POLL_MS = 100 };

void pace_begin(struct pace *p)
{
	p->begun_ns = p->looked_ns = p->told_ns = clock_now_ns();
}

static int look(struct pace *p, uint64_t now, struct error *err)
{
	if (!p->every_s || (double)(now - p->looked_ns) < p->every_s * 1e9)
		return 0;
	p->looked_ns = now;
	return p->look(p->arg, err);
}

static void tell_progress(struct pace *p, uint64_t now)
{
	if (now - p->told_ns < 1000000000ULL)
		return;
	p->told_ns = now;
	p->progress(p->arg, (double)(now - p->begun_ns) / 1e9);
}

/* How long the next poll may take. */
static int poll_ms(const struct pace *p, uint64_t now)
{
	double left = p->duration_s * 1e3 - (double)(now - p->begun_ns) / 1e6;

	if (!p->duration_s || left > POLL_MS)
		return POLL_MS;
	return left < 0 ? 0 : (int)left + 1;
}

static enum pace_end why_now(const struct pace *p, uint64_t now)
{
	if (alloc_interrupted)
		return PACE_BY_SIGNAL;
	if (p->duration_s && (double)(now - p->begun_ns) >= p->duration_s * 1e9)
		return PACE_BY_DURATION;
	return p->is_reached && p->is_reached(p->arg) ? PACE_BY_CONDITION : PACE_BY_ITSELF;
}

int pace_run(struct pace *p, struct error *err)
{
	for (;;) {
		uint64_t now = clock_now_ns();
		enum pace_end why = why_now(p, now);
		int r;

		if (why)
			return why;
		r = p->poll(p->arg, poll_ms(p, now), err);
		if (r)
			return r < 0 ? r : PACE_BY_ITSELF;
		now = clock_now_ns();
		tell_progress(p, now);
		r = look(p, now, err);
		if (r < 0)
			return r;
	}
}
