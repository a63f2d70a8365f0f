/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Is what the agent works with still whole? It lies in the target's memory, where a stray
 * write can reach it; a countdown that was hit would keep a thread from being sampled, and
 * nothing would show. What cannot be is looked for from outside:
 *
 *	countdowns	above what can be drawn (agent.c: 64 bits of a logarithm, so 45 means;
 *			or a pause), or with a rate that there is not. Seen twice alike, for a
 *			thread may be between two writes. It is given a new one.
 *	the set		entries whose check sum is wrong at two looks
 *	counters	that go backwards, or know of fewer samples than there are
 *
 * A countdown that was damaged into another possible one harms nothing: it is one wrong draw.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent_format.h"
#include "alloc/agent_rate.h"
#include "base/error.h"
#include "inject/inject.h"

struct agent_health {
	uint64_t countdowns; /* that could not be, and were renewed */
	uint64_t entries;    /* damaged at the last look and the one before */
	uint64_t counters;   /* times that they could not be */
	/* what was found the last time */
	uint64_t torn;
	struct agent_counters seen;
};

/* Is @s a slot that the agent cannot have made? */
bool agent_health_is_damaged(const struct agent_rate *r, const struct agent_slot *s);
/* Look at all slots of the agent whose data is at @data, and mend what is damaged. */
int agent_health_check_slots(struct agent_health *h, const struct agent_rate *r, struct inject *in,
                             uint64_t data, struct error *err);
/* After a look at the set: @torn entries could not be read; @highest: the number of the
 * last sample that is in it; @c: the counters, read after it. */
void agent_health_looked(struct agent_health *h, uint64_t torn, uint64_t highest,
                         const struct agent_counters *c);
/* "" or what is wrong, for the report. Returns @buf. */
const char *agent_health_text(const struct agent_health *h, char *buf, size_t size);
