/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/trigger.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint64_t SECOND_NS = 1000000000, DAY_NS = 86400 * SECOND_NS;
static const uint64_t MIN_SLOPE_NS = 60 * SECOND_NS, MAX_SLOPE_NS = 1800 * SECOND_NS;

/* --- the last while ----------------------------------------------------------------- */

void trigger_window_init(struct trigger_window *w, uint64_t window_ns)
{
	*w = (struct trigger_window){ .part_ns = window_ns / TRIGGER_WINDOW_PARTS };
	if (!w->part_ns)
		w->part_ns = 1;
}

void trigger_window_add(struct trigger_window *w, uint64_t now_ns, int64_t value)
{
	uint64_t index = now_ns / w->part_ns + 1;
	struct trigger_window_part *p = &w->parts[index % TRIGGER_WINDOW_PARTS];

	if (p->index != index)
		*p = (struct trigger_window_part){ index, value, value };
	p->low = value < p->low ? value : p->low;
	p->high = value > p->high ? value : p->high;
}

bool trigger_window_range(const struct trigger_window *w, uint64_t now_ns, int64_t *low,
                          int64_t *high)
{
	uint64_t index = now_ns / w->part_ns + 1;
	bool any = false;

	for (size_t i = 0; i < TRIGGER_WINDOW_PARTS; i++) {
		const struct trigger_window_part *p = &w->parts[i];

		if (!p->index || p->index + TRIGGER_WINDOW_PARTS <= index)
			continue;
		*low = any && *low < p->low ? *low : p->low;
		*high = any && *high > p->high ? *high : p->high;
		any = true;
	}
	return any;
}

static uint64_t slope_window_ns(uint64_t eta_ns)
{
	uint64_t half = eta_ns / 2;

	return half < MIN_SLOPE_NS ? MIN_SLOPE_NS : half > MAX_SLOPE_NS ? MAX_SLOPE_NS : half;
}

/* The highest of what is older than @ago_ns; INT64_MIN: nothing is. */
static int64_t high_before(const struct trigger_window *w, uint64_t now_ns, uint64_t ago_ns)
{
	uint64_t index = now_ns / w->part_ns + 1, ago = (ago_ns + w->part_ns - 1) / w->part_ns;
	int64_t high = INT64_MIN;

	for (size_t i = 0; i < TRIGGER_WINDOW_PARTS; i++) {
		const struct trigger_window_part *p = &w->parts[i];

		if (p->index && p->index + TRIGGER_WINDOW_PARTS > index && p->index + ago < index &&
		    p->high > high)
			high = p->high;
	}
	return high;
}

/* --- conditions: does the rule hold for this sample? --------------------------------- */

static double mib(int64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static int64_t value_of(const struct trigger *t, const struct trigger_sample *s)
{
	return s->bytes[t->rule.source];
}

static bool has_grown(struct trigger *t, uint64_t now_ns, const struct trigger_sample *s,
                      char *reason)
{
	int64_t now = value_of(t, s), step = (int64_t)t->rule.bytes, low = now, high = now;

	if (now < 0)
		return false;
	trigger_window_add(&t->window, now_ns, now);
	trigger_window_range(&t->window, now_ns, &low, &high);
	if (t->mark_bytes < 0 || t->mark_bytes > high)
		t->mark_bytes = t->mark_bytes < 0 ? now : high;
	if (now - low < step || now - t->mark_bytes < step)
		return false;
	snprintf(reason, TRIGGER_REASON_BYTES,
	         "grew by %.1f MiB to %.1f MiB, %.1f MiB of it within the last %" PRIu64 " s",
	         mib(now - t->mark_bytes), mib(now), mib(now - low), t->rule.window_ns / SECOND_NS);
	return true;
}

/* The level at which the rule is about to fire; < 0: there is none. */
static double level(const struct trigger *t, const struct trigger_sample *s)
{
	if (t->rule.kind == TRIGGER_ABOVE_SIZE)
		return (double)t->rule.bytes;
	return s->limit_bytes > 0 ? t->rule.part * (double)s->limit_bytes : -1;
}

static bool is_above(struct trigger *t, const struct trigger_sample *s, char *reason)
{
	double now = (double)value_of(t, s), at = level(t, s);

	if (now < 0 || at < 0)
		return false;
	if (now < at * 0.95)
		t->is_armed = true;
	if (now < at || !t->is_armed)
		return false;
	if (t->rule.kind == TRIGGER_ABOVE_SIZE)
		snprintf(reason, TRIGGER_REASON_BYTES, "%.1f MiB, above %.1f MiB",
		         mib(value_of(t, s)), mib((int64_t)at));
	else
		snprintf(reason, TRIGGER_REASON_BYTES,
		         "%.1f MiB, %.0f %% of its limit of %.1f MiB (rule: %.0f %%)",
		         mib(value_of(t, s)), now / (double)s->limit_bytes * 100,
		         mib(s->limit_bytes), t->rule.part * 100);
	return true;
}

double trigger_eta_s(const struct trigger *t, const struct trigger_sample *s)
{
	struct trigger_slope_line line;
	int64_t now = value_of(t, s);

	if (now < 0 || s->limit_bytes <= 0 || t->rule.kind != TRIGGER_ETA ||
	    !trigger_slope_line(&t->slope, &line) || !line.steady)
		return -1;
	return now >= s->limit_bytes ? 0 : (double)(s->limit_bytes - now) / line.low;
}

static bool is_near_limit(struct trigger *t, uint64_t now_ns, const struct trigger_sample *s,
                          char *reason)
{
	struct trigger_slope_line line = { 0 };
	double wanted = (double)t->rule.window_ns / 1e9, eta;

	if (value_of(t, s) < 0)
		return false;
	trigger_slope_add(&t->slope, now_ns, (double)value_of(t, s));
	trigger_window_add(&t->window, now_ns, value_of(t, s));
	eta = trigger_eta_s(t, s);
	/* what swings was as high not long ago */
	if (value_of(t, s) <= high_before(&t->window, now_ns, slope_window_ns(t->rule.window_ns)))
		eta = -1;
	if (eta < 0 || eta > wanted * 1.25)
		t->is_armed = true;
	if (eta < 0 || eta > wanted || !t->is_armed)
		return false;
	trigger_slope_line(&t->slope, &line);
	snprintf(reason, TRIGGER_REASON_BYTES,
	         "at its limit of %.1f MiB in %.0f s or less: %.1f MiB, growing by %.3f MiB/s "
	         "(95 %%: %.3f to %.3f)",
	         mib(s->limit_bytes), eta, mib(value_of(t, s)), line.bytes_per_s / (1 << 20),
	         line.low / (1 << 20), line.high / (1 << 20));
	return true;
}

static bool is_pressed(struct trigger *t, const struct trigger_sample *s, char *reason)
{
	if (s->pressure < 0)
		return false;
	if (s->pressure < t->rule.part * 0.5)
		t->is_armed = true;
	snprintf(reason, TRIGGER_REASON_BYTES, "tasks waited for memory %.1f %% of the last 10 s",
	         s->pressure * 100);
	return t->is_armed && s->pressure >= t->rule.part;
}

static bool was_killed(struct trigger *t, const struct trigger_sample *s, char *reason)
{
	int64_t more = s->oom_kills - t->oom_kills;

	if (s->oom_kills < 0)
		return false;
	if (t->oom_kills < 0 || more < 0) {
		t->oom_kills = s->oom_kills;
		return false;
	}
	snprintf(reason, TRIGGER_REASON_BYTES,
	         "%" PRId64 " killed in its cgroup for want of memory", more);
	return more > 0;
}

static bool holds(struct trigger *t, uint64_t now_ns, const struct trigger_sample *s, char *reason)
{
	switch (t->rule.kind) {
	case TRIGGER_GROWTH: return has_grown(t, now_ns, s, reason);
	case TRIGGER_ABOVE_PART:
	case TRIGGER_ABOVE_SIZE: return is_above(t, s, reason);
	case TRIGGER_ETA: return is_near_limit(t, now_ns, s, reason);
	case TRIGGER_PRESSURE: return is_pressed(t, s, reason);
	case TRIGGER_OOM: return was_killed(t, s, reason);
	case TRIGGER_HELD: break;
	}
	return false;
}

/* --- when it fires ------------------------------------------------------------------- */

/* What swings is known by eight times what a slope is made of. */
static uint64_t window_ns(const struct trigger_rule *r)
{
	return r->kind == TRIGGER_ETA ? 8 * slope_window_ns(r->window_ns) : r->window_ns;
}

void trigger_init(struct trigger *t, const struct trigger_rule *rule,
                  const struct trigger_policy *policy)
{
	*t = (struct trigger){ .rule = *rule,
		               .policy = *policy,
		               .is_armed = true,
		               .mark_bytes = -1,
		               .oom_kills = -1 };
	if (!policy->per_day || policy->per_day > TRIGGER_MAX_PER_DAY)
		t->policy.per_day = TRIGGER_MAX_PER_DAY;
	trigger_window_init(&t->window, window_ns(rule));
	trigger_slope_init(&t->slope, slope_window_ns(rule->window_ns));
	/* the next block of the line has to say so, too */
	if (rule->kind == TRIGGER_ETA && t->policy.confirm_ns < t->slope.block_ns)
		t->policy.confirm_ns = t->slope.block_ns;
}

static size_t fired_in_a_day(const struct trigger *t, uint64_t now_ns)
{
	size_t n = 0;

	for (size_t i = 0; i < TRIGGER_MAX_PER_DAY; i++)
		n += t->fired_ns[i] && now_ns - t->fired_ns[i] < DAY_NS;
	return n;
}

bool trigger_may_fire(struct trigger *t, uint64_t now_ns)
{
	size_t last = (t->next_fired + TRIGGER_MAX_PER_DAY - 1) % TRIGGER_MAX_PER_DAY;

	if ((t->fired_ns[last] && now_ns - t->fired_ns[last] < t->policy.cooldown_ns) ||
	    fired_in_a_day(t, now_ns) >= t->policy.per_day) {
		t->held_off += !t->was_held_off;
		t->was_held_off = true;
		return false;
	}
	t->was_held_off = false;
	t->fired_ns[t->next_fired] = now_ns;
	t->next_fired = (t->next_fired + 1) % TRIGGER_MAX_PER_DAY;
	t->fired++;
	return true;
}

/* What was captured is not captured again. */
static void move_mark(struct trigger *t, const struct trigger_sample *s)
{
	int64_t step = (int64_t)t->rule.bytes;

	t->is_armed = false;
	t->oom_kills = s->oom_kills;
	if (t->rule.kind == TRIGGER_GROWTH)
		t->mark_bytes += (value_of(t, s) - t->mark_bytes) / step * step;
}

/* While it is warming up conditions are followed, but start anew at its end. */
static bool warm_up(struct trigger *t, uint64_t now_ns, const struct trigger_sample *s)
{
	if (!t->first_ns)
		t->first_ns = now_ns;
	if (t->is_warm || now_ns - t->first_ns < t->policy.warm_up_ns)
		return false;
	t->is_warm = true;
	if (value_of(t, s) >= 0) {
		t->mark_bytes = value_of(t, s);
		trigger_window_init(&t->window, window_ns(&t->rule));
		trigger_window_add(&t->window, now_ns, t->mark_bytes);
	}
	return true;
}

enum trigger_verdict trigger_look(struct trigger *t, uint64_t now_ns,
                                  const struct trigger_sample *s, char reason[TRIGGER_REASON_BYTES])
{
	bool begins = warm_up(t, now_ns, s);

	if (begins) {
		snprintf(reason, TRIGGER_REASON_BYTES, "what later captures are compared with");
		return TRIGGER_BASELINE;
	}
	if (!holds(t, now_ns, s, reason) || !t->is_warm) {
		t->true_since_ns = 0;
		t->was_held_off = false;
		return TRIGGER_NOTHING;
	}
	if (!t->true_since_ns)
		t->true_since_ns = now_ns;
	if (now_ns - t->true_since_ns < t->policy.confirm_ns || !trigger_may_fire(t, now_ns))
		return TRIGGER_NOTHING;
	move_mark(t, s);
	t->true_since_ns = 0;
	return TRIGGER_FIRE;
}
