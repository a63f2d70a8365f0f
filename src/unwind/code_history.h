/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a recorded pc was in. Libraries come and go while stacks are recorded,
 * and another may be at the same place: a pc carries a snapshot of the maps, or
 * a count of changes (bpf/stack_format.h), and this knows which maps that was.
 */

#include <stddef.h>

#include "base/error.h"
#include "symbol/symbol.h"
#include "unwind/bpf_tables.h"

struct code_history {
	struct symbol_space *space; /* the owner's */
	/* snapshots of the maps, and after how many changes each was taken: see
	 * STACK_PC_UNSEEN */
	struct code_history_snapshot {
		u32 number, changes;
	} * snapshots;
	size_t n_snapshots, cap_snapshots;
};

void code_history_clear(struct code_history *h);
/* The space's last snapshot was taken after @changes of the modules. */
void code_history_note(struct code_history *h, u32 changes);
/* The mapping that a recorded pc was in, for its address @at (one less for a
 * return address); NULL when that is not known for sure. */
const struct symbol_mapping *code_history_mapping(const struct code_history *h, u64 pc, u64 at);
