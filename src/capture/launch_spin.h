/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A started program, held without a tracer: the agent's engine takes threads by
 * ptrace itself, and lends them for calls, which a thread that stands still cannot
 * make. So the program goes round in one instruction (jmp to itself) at the place
 * where it was held, until the recording has begun. Should memwho be killed in that
 * time, the program is killed with it, as when it is held by ptrace.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct launch_spin {
	uint64_t at;  /* of the jump; 0: it does not spin */
	uint64_t was; /* the word there */
};

/* @pid is stopped under our ptrace, about to execute an instruction of its own; it
 * runs, untraced, when this returns 0. */
int launch_spin_begin(pid_t pid, struct launch_spin *ret, struct error *err);
/* Back to what it was about to do; it runs, untraced, and no more ends with us. */
int launch_spin_end(pid_t pid, struct launch_spin *s, struct error *err);
