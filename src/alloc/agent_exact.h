/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Exact mode (`--engine agent --exact`) from memwho's side: the second mapping in
 * a target, which is made before the patches and taken away behind them, its
 * tables, and what the agent has written there.
 *
 * The surprising rule: where the mapping will be is written into the agent's table
 * before it is made, so that whoever finds a killed memwho's place finds it, too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent_exact_format.h"
#include "alloc/agent_stacks.h"
#include "alloc/agent_tables.h"
#include "base/error.h"
#include "inject/inject.h"

struct agent_exact_sums {
	u64 objects, bytes, freed_objects, freed_bytes;
};

struct agent_exact_run {
	struct inject *inject;
	struct tracee *tracee;
	u64 base;                /* of the agent's place */
	u64 at;                  /* of struct agent_exact in the target */
	struct agent_exact head; /* as it was written there */
	struct agent_tables tables;
	struct agent_stacks *stacks; /* not owned */
	u32 *local;                  /* the agent's stacks: their number in @stacks, or 0 */
	size_t n_seen;               /* of them have been looked at */
	struct agent_exact_counters counters; /* as last read */
	struct agent_exact_sums sums;
	u64 unknown_seen, refreshed_ns;
	u64 torn; /* entries that could not be read whole */
};

/* Make the mapping for the agent at @base, which is filled and has no patches, and write
 * the tables. @levels: of the set, 0: all that fit. @alive: ticks of the time stamp counter
 * behind the deadline after which the agent gives up. On failure the place has to be
 * emptied (agent_place_empty()). -ENOMEM. */
int agent_exact_open(struct inject *in, struct tracee *t, u64 base, unsigned levels, u64 alive,
                     struct agent_stacks *stacks, struct agent_exact_run **ret, struct error *err);
/* Only memwho's memory. */
struct agent_exact_run *agent_exact_free(struct agent_exact_run *r);

/* Read counters and new stacks; tell the agent about new code. @table: the agent's. */
int agent_exact_tend(struct agent_exact_run *r, const struct agent_table *table, struct error *err);
u64 agent_exact_slots(const struct agent_exact_run *r);

/* Read what new stacks there are. */
int agent_exact_learn(struct agent_exact_run *r, struct error *err);
/* The number in @stacks of one of the agent's stacks; 0: not stored. */
u32 agent_exact_local(const struct agent_exact_run *r, u32 stack);
/* Read the counters and r->sums. */
int agent_exact_read_sums(struct agent_exact_run *r, struct error *err);
/* Each block that is in the set: @found is called with what is known of it. @stack is a
 * number of the agent's; @context: 0: of none. */
struct agent_exact_found {
	u64 size, context;
	u32 stack, birth;
};
typedef int (*agent_exact_found_fn)(void *arg, const struct agent_exact_found *f,
                                    struct error *err);
int agent_exact_look(struct agent_exact_run *r, agent_exact_found_fn found, void *arg,
                     struct error *err);
/* Put the sums of all that was allocated into the stacks. */
int agent_exact_sum_stacks(struct agent_exact_run *r, struct error *err);

/* Unmap it, if there is one; no thread may be in the agent's code. */
int agent_exact_drop(struct inject *in, const struct target *t, u64 base,
                     const struct agent_table *table, struct error *err);
