/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The agent's exact mode as the engine sees it: every block has a weight of 1, and no
 * interval. The surprising rule: what is held is read from the target only now and then
 * while it records (sums come all the time), and once more when the patches are out and
 * nothing moves: that is the result, and it is exact. */

#include "alloc/engine_agent.h"

/* Before the patches: make the tables, and let @control know. */
int engine_agent_exact_open(struct engine_agent *e, unsigned levels, struct agent_control *control,
                            struct error *err);
/* As agent_samples_drain() and agent_samples_look(). */
int engine_agent_exact_drain(struct engine_agent *e, struct error *err);
int engine_agent_exact_look(struct engine_agent *e, struct error *err);
/* The sums, and the set when that costs little. */
int engine_agent_exact_pulse(struct engine_agent *e, struct error *err);
/* Take the patches out, wait until all calls are over, and look for the last time. */
int engine_agent_exact_stop(struct engine_agent *e, struct error *err);
