/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_rate.h"

#include <math.h>
#include <stddef.h>

#include "alloc/agent_countdowns.h"

#define LEAST_MEAN 64.0
#define MOST_MEAN  (double)(1ull << 42) /* the agent's arithmetic has room for more */

void agent_rate_init(struct agent_rate *r, uint64_t mean, uint64_t now_ns)
{
	*r = (struct agent_rate){ .now = AGENT_RATE_FIRST,
		                  .coarsest = AGENT_RATE_FIRST,
		                  .finest = AGENT_RATE_FIRST };
	for (int i = 0; i < AGENT_RATES; i++) {
		const double steps = (double)(i - AGENT_RATE_FIRST) / AGENT_RATES_OF_TWO;

		r->means[i] = (uint64_t)fmin(fmax((double)mean * exp2(steps), LEAST_MEAN),
		                             MOST_MEAN);
	}
	r->means[AGENT_RATE_FIRST] = mean;
	r->history[r->n_history++] = (struct agent_rate_change){ now_ns, mean };
}

uint64_t agent_rate_mean(const struct agent_rate *r, unsigned line)
{
	return line < AGENT_RATES ? r->means[line] : 0;
}

uint64_t agent_rate_coarsest(const struct agent_rate *r)
{
	return r->means[r->coarsest];
}

void agent_rate_seen(struct agent_rate *r, unsigned line)
{
	if (line < AGENT_RATES && r->means[line] > r->means[r->coarsest])
		r->coarsest = line;
}

static void note(struct agent_rate *r, unsigned line, uint64_t now_ns)
{
	r->now = line;
	agent_rate_seen(r, line);
	if (r->n_history < AGENT_RATE_HISTORY)
		r->history[r->n_history++] = (struct agent_rate_change){ now_ns, r->means[line] };
	else
		r->n_untold++;
}

/* One byte: that is never seen half written. */
static int write_byte(struct inject *in, uint64_t at, uint8_t v, struct error *err)
{
	return inject_write(in, at, &v, sizeof(v), err);
}

int agent_rate_set(struct agent_rate *r, struct inject *in, uint64_t data, unsigned line,
                   uint64_t now_ns, struct error *err)
{
	const uint64_t at = data + offsetof(struct agent_data, control) +
	                    offsetof(struct agent_control, rate);
	const uint64_t before = r->means[r->now];
	int rc;

	if (line >= AGENT_RATES || line == r->now)
		return 0;
	rc = write_byte(in, at, (uint8_t)line, err);
	if (rc < 0)
		return rc;
	note(r, line, now_ns);
	return r->means[line] < before ? agent_rate_renew(r, in, data, err) : 0;
}

/* Is more waited for than should be? */
static bool is_old(const struct agent_rate *r, const struct agent_slot *s)
{
	return s->left >= 0 && (s->rate >= AGENT_RATES || r->means[s->rate] > r->means[r->now]);
}

struct renewing {
	const struct agent_rate *rate;
	struct inject *in;
};

static int renew_old(void *arg, uint64_t at, const struct agent_slot *s, struct error *err)
{
	const struct renewing *r = arg;

	return is_old(r->rate, s) ? agent_countdowns_renew(r->in, at, err) : 0;
}

int agent_rate_renew(const struct agent_rate *r, struct inject *in, uint64_t data,
                     struct error *err)
{
	struct renewing renewing = { r, in };

	return agent_countdowns_each(in, data, renew_old, &renewing, err);
}
