/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Is it time for a capture? Pure functions of (time, sample): no clock is read
 * and no process looked at, so that a test can live a year in a second.
 *
 * The surprising rule: growth is counted from a mark, and the mark moves by
 * whole steps. "growth 256M in 10m" asks for 256 MiB above the lowest of the
 * last 10 minutes AND above the mark, which is where the last capture was due;
 * so a gigabyte is four captures, and memory that only swings makes no second
 * one. The mark comes down when all of the last 10 minutes was below it.
 *
 * A rule fires when its condition has held for a moment (confirm_ns), then not
 * again before the cooldown is over, nor more often than per_day in any 24
 * hours; growth that was due in between is one capture then. Rules about a
 * level fire again only after it was clearly left (a twentieth below).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve/trigger_rule.h"
#include "serve/trigger_slope.h"

enum { TRIGGER_WINDOW_PARTS = 16, TRIGGER_MAX_PER_DAY = 48, TRIGGER_REASON_BYTES = 200 };

/* What is known at one moment; -1: not known. */
struct trigger_sample {
	int64_t bytes[TRIGGER_N_SOURCES];
	int64_t limit_bytes; /* of the cgroup; -1: none, or not known */
	double pressure;     /* part of the last 10 s in which some task waited; < 0: not known */
	int64_t oom_kills;   /* in the cgroup since it was made */
};
static inline struct trigger_sample trigger_sample_unknown(void)
{
	return (struct trigger_sample){ { -1, -1, -1 }, -1, -1, -1 };
}

struct trigger_policy {
	uint64_t warm_up_ns; /* nothing fires before; then the baseline is taken */
	uint64_t cooldown_ns;
	uint64_t confirm_ns;
	unsigned per_day; /* 0, or more than TRIGGER_MAX_PER_DAY: that many */
};

/* Lowest and highest of the last while, by parts of it: never longer than it. */
struct trigger_window {
	uint64_t part_ns;
	struct trigger_window_part {
		uint64_t index; /* 0: empty */
		int64_t low, high;
	} parts[TRIGGER_WINDOW_PARTS];
};
void trigger_window_init(struct trigger_window *w, uint64_t window_ns);
void trigger_window_add(struct trigger_window *w, uint64_t now_ns, int64_t value);
/* false: empty. */
bool trigger_window_range(const struct trigger_window *w, uint64_t now_ns, int64_t *low,
                          int64_t *high);

struct trigger {
	struct trigger_rule rule;
	struct trigger_policy policy;
	uint64_t first_ns;                      /* of the first sample; 0: none yet */
	uint64_t true_since_ns;                 /* the condition holds since then; 0: it does not */
	uint64_t fired_ns[TRIGGER_MAX_PER_DAY]; /* a ring of times; 0: never */
	size_t next_fired;
	bool is_warm, is_armed;
	int64_t mark_bytes, oom_kills; /* -1: not set */
	struct trigger_window window;
	struct trigger_slope slope;
	uint64_t fired, held_off; /* held_off: due within the cooldown, or above per_day */
	bool was_held_off;
};

enum trigger_verdict {
	TRIGGER_NOTHING,
	TRIGGER_BASELINE, /* once: what later captures are compared with */
	TRIGGER_FIRE,
};

void trigger_init(struct trigger *t, const struct trigger_rule *rule,
                  const struct trigger_policy *policy);

/* @now_ns: of a clock that never goes back, and is not 0. @reason says why it
 * fires, in a sentence. TRIGGER_HELD rules answer TRIGGER_BASELINE here, and
 * fire by trigger_stacks.h. */
enum trigger_verdict trigger_look(struct trigger *t, uint64_t now_ns,
                                  const struct trigger_sample *s,
                                  char reason[TRIGGER_REASON_BYTES]);

/* For a condition that is found elsewhere: may it fire now? Counts it. */
bool trigger_may_fire(struct trigger *t, uint64_t now_ns);

/* Seconds to the limit, by the low end of the slope's interval (it is later, if
 * anything); < 0: no limit, or no steady growth. Only of eta rules. */
double trigger_eta_s(const struct trigger *t, const struct trigger_sample *s);
