/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_health.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int mend(struct inject *in, uint64_t slot, struct error *err)
{
	const uint8_t renew = AGENT_RENEW;

	/* the highest byte of a little-endian number */
	return inject_write(in, slot + offsetof(struct agent_slot, left) + 7, &renew, 1, err);
}

int agent_health_check_slots(struct agent_health *h, const struct agent_rate *r, struct inject *in,
                             uint64_t data, struct error *err)
{
	const uint64_t base = data + offsetof(struct agent_data, slots);
	cleanup_free struct agent_slot *slots = malloc(AGENT_SLOTS * sizeof(*slots));
	struct agent_slot again;
	int rc;

	if (!slots)
		return error_oom(err);
	rc = inject_read(in, base, slots, AGENT_SLOTS * sizeof(*slots), err);
	for (unsigned i = 0; rc == 0 && i < AGENT_SLOTS; i++) {
		const uint64_t at = base + i * sizeof(*slots);

		if (!agent_health_is_damaged(r, &slots[i]))
			continue;
		rc = inject_read(in, at, &again, sizeof(again), err);
		if (rc < 0 || again.owner != slots[i].owner || again.rate != slots[i].rate ||
		    !agent_health_is_damaged(r, &again))
			continue;
		h->countdowns++;
		rc = mend(in, at, err);
	}
	return rc;
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
