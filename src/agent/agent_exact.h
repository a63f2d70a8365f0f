/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Exact mode inside a target: each block with its stack, in tables that lie in a
 * mapping of their own. Everything may be interrupted by a signal handler that
 * allocates, or left for ever by a longjmp out of one; what is then left is a
 * place that is not used again.
 *
 * The surprising rule: who frees a block is the only one who may, so the set
 * needs no lock, and a block is in it before anybody can know its address.
 */

#include "agent/agent_exact_format.h"
#include "agent/agent_unwind.h"

struct agent_exact_call { /* that returns a block */
	agent_u64 ptr, size, context;
	agent_u64 ret, sp, bp;               /* of the caller, as after the return */
	agent_u64 now;                       /* time stamp counter */
	agent_u32 slot;                      /* the thread's, or AGENT_SLOTS: none */
	agent_u32 whole;                     /* it is known how far the stack reaches */
	struct agent_unwind_range here;      /* of it */
	struct agent_unwind_range others[2]; /* where else it may go on */
};

/* What is known of one. @size: with its check */
struct agent_exact_block {
	struct agent_exact_value value;
	agent_u64 ref;
};

void agent_exact_record(struct agent_exact *x, const struct agent_exact_call *c);
/* Is @ptr a block of ours? Then it is no more, and *ret what was known. */
int agent_exact_take(struct agent_exact *x, agent_u32 slot, agent_u64 ptr,
                     struct agent_exact_block *ret);
/* The same, and it stays one. */
int agent_exact_has(struct agent_exact *x, agent_u64 ptr);
/* realloc() has failed: it lives on. */
void agent_exact_put_back(struct agent_exact *x, agent_u32 slot, agent_u64 ptr,
                          const struct agent_exact_block *b);
/* All blocks of a context are gone. */
void agent_exact_reset(struct agent_exact *x, agent_u32 slot, agent_u64 context);
/* A block that is not recorded, as the reader is late. 1: it will not come, and this is
 * the first to say so. */
int agent_exact_late(struct agent_exact *x, agent_u64 size, agent_u64 ticks);
