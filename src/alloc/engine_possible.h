/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which engine can work here, and why another one cannot. Looks only: nothing is
 * loaded that stays, and nothing is changed in the process. A "yes" is no promise:
 * what only an attach can find out is found out by the attach.
 */

#include "alloc/alloc.h"
#include "base/error.h"
#include "target/target.h"

/* What engine_ops.possible is. Of the agent: not whether the process's allocator can be
 * patched (engine_possible_patches). */
int engine_possible_bpf(const struct target *t, struct error *err);
int engine_possible_agent(const struct target *t, struct error *err);

/* How many functions of the allocators in process @pid could the agent patch? -errno
 * with the reason when it cannot. */
int engine_possible_patches(pid_t pid, const char *allocators, struct error *err);
