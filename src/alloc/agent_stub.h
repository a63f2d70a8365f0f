/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The machine code between a patched function and the agent, for one function.
 * A thread comes here from the function's second instruction, or a later one.
 *
 *	sampled	takes the call's size from a countdown, the processor's or the
 *		thread's, or looks in the
 *		filter whether a block that is freed was sampled, or one of a context
 *		that is reset; then the
 *		instructions that the patch has replaced, and back. rax, r10, r11 and
 *		the flags are lost, which a caller has to expect of any allocator that
 *		calls out of its own unit.
 *	exact	goes the slow way while agent_control.exact_on is set; else as above
 *	slow	undoes the instructions before the jump and goes to agent_slow
 *	original these and those that were moved, and back
 *
 * Both entries are always there, and the functions' jumps choose one of them: a place
 * that has seen one mode is as good for the other.
 *
 * The surprising rule: plans decide what is fast. Only a size that is one
 * argument or the product of two, and a pointer that is one, are understood
 * here, and an argument that says how much is asked for (struct plan_code, asked);
 * everything else goes the slow way, which can run any plan.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent_format.h"

/* How an instruction before the jump is taken back. */
enum agent_stub_undo {
	AGENT_STUB_REPEAT, /* nothing to do; executed again it does the same */
	AGENT_STUB_KEEP,   /* so, and the fast way leaves what it has done: no flags, and none of
	                      the registers that are lost */
	AGENT_STUB_RAISE,  /* push: what was pushed is popped; sub: rsp is raised again */
};

enum { AGENT_STUB_MAX_MOVED = 32, AGENT_STUB_MAX_INSNS = 16 };

/* The beginning of a function, as its file has it. */
struct agent_stub_head {
	uint64_t start; /* run-time address */
	uint8_t bytes[48 + AGENT_STUB_MAX_MOVED];
	uint8_t lengths[AGENT_STUB_MAX_INSNS];
	uint8_t disp_at[AGENT_STUB_MAX_INSNS]; /* as in struct code_insn */
	uint8_t undo[AGENT_STUB_MAX_INSNS];    /* enum agent_stub_undo, of the first n_before */
	unsigned n, n_before;                  /* instructions; those before the jump, which stay */
};

enum agent_stub_kind {
	AGENT_STUB_SLOW,
	AGENT_STUB_ALLOC,
	AGENT_STUB_FREE,
	AGENT_STUB_REALLOC,
	AGENT_STUB_RESET
};

/* What can be decided by the stub, of a plan. @sizes: the arguments whose product
 * is the size, 1 or 2 of them, and what is added to it; @ptr: the argument that is
 * freed, or the context that is reset. */
struct agent_stub_fast {
	enum agent_stub_kind kind;
	unsigned char sizes[2], n_sizes, more, ptr;
};
struct agent_stub_fast agent_stub_understand(const struct plan_code *code);

struct agent_stub_ways {
	uint64_t sampled, exact, original; /* run-time addresses */
};
/* Write stub number @number for an agent at @base into @code (AGENT_STUB_BYTES); @cpu_at: as
 * in struct agent_table. -ENOTSUP: an instruction cannot be moved so far, or not at all. */
int agent_stub_make(uint64_t base, uint64_t slow, unsigned number, int64_t cpu_at,
                    const struct agent_stub_head *head, const struct agent_stub_fast *fast,
                    uint8_t *code, struct agent_stub_ways *ret);
