/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_health.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "alloc/agent_countdowns.h"
#include "base/cleanup.h"

enum { MOST_MEANS = 45, PAUSE_MEANS = 64, OFF_BITS = 36 }; /* as agent.c has them */

bool agent_health_is_damaged(const struct agent_rate *r, const struct agent_slot *s)
{
	const uint64_t coarsest = agent_rate_coarsest(r);
	unsigned __int128 most;

	if (!s->owner || s->left < 0) /* below zero, the next call draws anew */
		return false;
	if (s->rate >= AGENT_RATES && s->rate != AGENT_NO_RATE)
		return true;
	if (s->rate == AGENT_NO_RATE) {
		most = (unsigned __int128)coarsest * PAUSE_MEANS;
		most = most > 1ull << OFF_BITS ? most : 1ull << OFF_BITS;
	} else {
		most = (unsigned __int128)agent_rate_mean(r, s->rate) * MOST_MEANS;
	}
	return (unsigned __int128)s->left > most;
}

struct looking {
	struct agent_health *health;
	const struct agent_rate *rate;
	struct inject *in;
};

static int mend_damaged(void *arg, uint64_t at, const struct agent_slot *s, struct error *err)
{
	const struct looking *l = arg;
	struct agent_slot again;
	int r;

	if (!agent_health_is_damaged(l->rate, s))
		return 0;
	r = inject_read(l->in, at, &again, sizeof(again), err);
	if (r < 0 || again.owner != s->owner || again.rate != s->rate ||
	    !agent_health_is_damaged(l->rate, &again))
		return r;
	l->health->countdowns++;
	return agent_countdowns_renew(l->in, at, err);
}

int agent_health_check_slots(struct agent_health *h, const struct agent_rate *r, struct inject *in,
                             uint64_t data, struct error *err)
{
	struct looking looking = { h, r, in };

	return agent_countdowns_each(in, data, mend_damaged, &looking, err);
}

void agent_health_looked(struct agent_health *h, uint64_t torn, uint64_t highest,
                         const struct agent_counters *c)
{
	h->entries = torn < h->torn ? torn : h->torn;
	h->torn = torn;
	if (c->samples < h->seen.samples || c->claims < h->seen.claims ||
	    c->freed < h->seen.freed || c->set_full < h->seen.set_full ||
	    c->no_slot < h->seen.no_slot || c->expired < h->seen.expired || highest > c->samples)
		h->counters++;
	h->seen = *c;
}

const char *agent_health_text(const struct agent_health *h, char *buf, size_t size)
{
	size_t n = 0;
	const struct {
		uint64_t times;
		const char *what;
	} found[] = {
		{ h->countdowns, "countdowns (mended, threads were sampled too seldom)" },
		{ h->entries, "entries of the set" },
		{ h->counters, "times the counters" },
	};

	buf[0] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(found); i++) {
		if (found[i].times && n < size)
			n += (size_t)snprintf(buf + n, size - n, "%s%" PRIu64 " %s", n ? ", " : "",
			                      found[i].times, found[i].what);
	}
	return buf;
}
