/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The unwind tables of exact mode as they lie in a target (agent_exact_format.h),
 * and when the code that was in a process has gone: which of the pcs that were
 * recorded mean what.
 *
 * The surprising rule: rows are only added. A library that comes back finds its
 * own again, and nobody who walks by an older list can be misled by them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent_exact_format.h"
#include "alloc/tracee.h"
#include "base/error.h"
#include "inject/inject.h"
#include "unwind/modules.h"

struct agent_tables {
	struct tracee *tracee;
	struct modules modules;
	struct bpf_tables staging; /* rows and index, as they are in the target */
	size_t rows_written, index_written;
	struct agent_exact_span *spans; /* as published last */
	size_t n_spans;
	u32 generation, half, epoch;
	/* of each epoch that is over, the last snapshot of the maps in it */
	u32 *snapshots;
	size_t cap_snapshots;
	bool is_mixed; /* generation 0: until no walk of an older list can be under way */
};

void agent_tables_clear(struct agent_tables *t); /* { 0 } is empty */

/* Make the tables of all code of @tracee; how much room they want, with some for later. */
int agent_tables_make(struct agent_tables *t, struct tracee *tracee, struct error *err);
size_t agent_tables_room_rows(const struct agent_tables *t);
size_t agent_tables_room_index(const struct agent_tables *t);

/* Write what is new to the agent at @x, whose head is @head; publish the list if it has
 * changed. Reads nothing of the target. */
int agent_tables_write(struct agent_tables *t, struct inject *in, u64 x,
                       const struct agent_exact *head, struct error *err);
/* Look at the target's mappings again. The stacks that are there must have been read. */
int agent_tables_refresh(struct agent_tables *t, struct error *err);

/* All walks of older lists are over: rules may be remembered again. */
int agent_tables_settle(struct agent_tables *t, struct inject *in, u64 x,
                        const struct agent_exact *head, struct error *err);

/* A pc as it was recorded in @epoch, as stack_frames_of_pcs() wants it. */
u64 agent_tables_pc(const struct agent_tables *t, u64 pc, u32 epoch);
