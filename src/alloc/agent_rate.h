/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How often the agent samples: the mean of the bytes between two samples, which may
 * be changed at any time while it records.
 *
 * The surprising rule: a countdown that a thread has begun keeps the mean that it was
 * drawn with, and so does each sample: the sample's weight is by that mean, not by
 * the one of now. Means are therefore a fixed table, and samples, countdowns and the
 * order to change name a line of it. A change is one byte in the target; whoever is
 * killed before or after it leaves a whole table and a valid line.
 */

#include <stdint.h>

#include "agent/agent_format.h"
#include "base/error.h"
#include "inject/inject.h"

enum {
	AGENT_RATE_FIRST = 40, /* line of the mean that was asked for, or of the default */
	AGENT_RATE_FREE = 4 * AGENT_RATES_OF_TWO, /* lines below, when no mean was asked for */
	AGENT_RATE_HISTORY = 4096,
};

struct agent_rate_change {
	uint64_t at_ns; /* clock_now_ns() */
	uint64_t mean;  /* from then on */
};

struct agent_rate {
	uint64_t means[AGENT_RATES];
	unsigned now, coarsest; /* lines of the table: in force; the greatest mean so far */
	unsigned finest;        /* the governor goes no further down: AGENT_RATE_FIRST, or less */
	/* the changes, with the first setting; those above the limit are only counted */
	struct agent_rate_change history[AGENT_RATE_HISTORY];
	unsigned n_history, n_untold;
};

/* @mean bytes, from now on; the table reaches from a thousandth of it to some millions. */
void agent_rate_init(struct agent_rate *r, uint64_t mean, uint64_t now_ns);
/* Of a line of the table, in bytes; 0: there is no such line. */
uint64_t agent_rate_mean(const struct agent_rate *r, unsigned line);
uint64_t agent_rate_coarsest(const struct agent_rate *r);
/* A sample of this line has come: the agent may have taken a coarser one by itself. */
void agent_rate_seen(struct agent_rate *r, unsigned line);

/* Countdowns are drawn by this line from now on, in the agent whose data is at @data.
 * Threads in the middle of a longer one get a new one, too. */
int agent_rate_set(struct agent_rate *r, struct inject *in, uint64_t data, unsigned line,
                   uint64_t now_ns, struct error *err);
/* Once more for threads whose countdown is longer than it would be now, or is a pause:
 * a write may be lost against the thread's own. */
int agent_rate_renew(const struct agent_rate *r, struct inject *in, uint64_t data,
                     struct error *err);
