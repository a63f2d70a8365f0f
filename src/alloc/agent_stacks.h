/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Stacks of samples: the agent copies a piece of a thread's stack, and here it is
 * unwound from outside, by the same tables as everywhere. Equal stacks have one
 * number. Everything in a record is the target's and may be anything.
 */

#include <stddef.h>
#include <stdint.h>

#include "agent/agent_format.h"
#include "alloc/tracee.h"
#include "base/error.h"
#include "bpf/unwind_format.h"
#include "profile/interval.h"

struct agent_stack {
	size_t first;
	u32 n;
	enum unwind_stop stop;
	/* estimates of all that was allocated there */
	struct interval_sum objects, bytes;
};

struct agent_stacks;

/* @walks: with the tables to unwind them; else they come unwound. */
int agent_stacks_new(struct tracee *t, bool walks, struct agent_stacks **ret, struct error *err);
struct agent_stacks *agent_stacks_free(struct agent_stacks *s);

/* *ret: the number of the record's stack, from 1 on; 0: there are too many. */
int agent_stacks_add(struct agent_stacks *s, const struct agent_record *r, u32 *ret,
                     struct error *err);
/* The same of a stack that is unwound already; @pcs as stack_frames_of_pcs() wants them. */
int agent_stacks_add_pcs(struct agent_stacks *s, const u64 *pcs, size_t n, enum unwind_stop stop,
                         u32 *ret, struct error *err);
/* Samples that came when there were too many. */
u64 agent_stacks_n_refused(const struct agent_stacks *s);
size_t agent_stacks_n(const struct agent_stacks *s); /* the highest number + 1 */
struct agent_stack *agent_stacks_at(struct agent_stacks *s, u32 id);
const u64 *agent_stacks_pcs(const struct agent_stacks *s, u32 id);
