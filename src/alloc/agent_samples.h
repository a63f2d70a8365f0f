/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the agent has drawn, read from the target's memory: the stacks as they come, the
 * set of blocks that live at a look. All of it is the target's and may be anything.
 */

#include "alloc/engine_agent.h"

/* Unwind the stacks that are ready and give their records back; e->n_drained of them. */
int agent_samples_drain(struct engine_agent *e, struct error *err);
/* Read the set now: e->blocks, e->held, e->peak. */
int agent_samples_look(struct engine_agent *e, struct error *err);

/* How many blocks one sample stands for that was drawn with @asked bytes, by the mean of then. */
double agent_samples_weight(const struct engine_agent *e, u64 asked, u64 seq);
