/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The unwinder that runs inside a target: bpf/unwind.bpf.h's walk over the same
 * rows, without the kernel's safe reads. So nothing is read of which it has not
 * been told that it is mapped: a word that lies outside of the stack's proven
 * range ends the walk (UNWIND_STOP_BAD_STACK).
 *
 * The surprising rule: what a return address means is remembered, not the stacks.
 * The row of a pc depends on nothing but the pc and the list of code, so a rule
 * that was found once in a generation is right for each later walk in it; a
 * remembered stack would have to be compared with the real one word by word.
 */

#include "agent/agent_exact_format.h"

struct agent_unwind_range { /* of addresses; all of it can be read */
	agent_u64 start, end;
};

struct agent_unwind {
	agent_u64 pc, sp, bp;
	agent_u32 exact;                     /* @pc is no return address */
	agent_u32 n, stop;                   /* the result: how many frames, why it ended */
	agent_u32 epoch;                     /* of the code that it was made with */
	agent_u64 hash;                      /* of all that */
	struct agent_unwind_range here;      /* which @sp lies in */
	struct agent_unwind_range others[2]; /* where a signal's frame may lead to */
	struct agent_exact_word *words;      /* what was read; room for AGENT_EXACT_MEMO_WORDS */
	agent_u32 n_words;                   /* more than that: not all are there */
	agent_u32 has_signal;                /* it goes through a signal's frame */
	agent_u32 bp_was_read, uses_bp; /* @bp is of the stack; the first one has a part in it */
	agent_u64 published;            /* the list of code; 0: it has changed meanwhile */
};

/* Walk from w->pc, sp, bp; @pcs has room for UNWIND_MAX_FRAMES. w->words may be NULL. */
void agent_unwind_walk(const struct agent_exact *x, struct agent_unwind *w, agent_u64 *pcs);
