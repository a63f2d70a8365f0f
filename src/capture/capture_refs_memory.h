/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What else a process's resident memory is, beside the objects that the graph
 * shows: the rows of its runtime (runtime/graph_account.h) and, for what is not
 * the runtime's, the ladder's. The surprising rule: the runtime's rows are of the
 * copy, the ladder is of the process, which goes on meanwhile; what its heap
 * grew or shrank by between the two is a figure of its own.
 */

#include <stdbool.h>

#include "base/error.h"
#include "map/ladder.h"
#include "profile/report.h"
#include "runtime/graph_account.h"

struct capture_refs_memory {
	struct graph_account account;
	struct ladder ladder; /* of the process; empty: a core, or it could not be read */
	bool has_ladder;
	/* of each part, bytes that are the runtime's; NULL: none are. Owned */
	uint64_t *inside;
};
void capture_refs_memory_clear(struct capture_refs_memory *m); /* { 0 } is empty */

/* The ladder of @t. What cannot be read is told as a note, and is no error. */
void capture_refs_memory_look(const struct target *t, struct capture_refs_memory *to);

/* Divide the ladder's parts, once both are there: what of them is the runtime's. */
int capture_refs_memory_divide(struct capture_refs_memory *m, struct error *err);

/*
 * Figures memory (for a person), memory_by ("resident" or "mapped"), rss_bytes,
 * explained_bytes, outside_bytes, changed_meanwhile_bytes; the tables
 *   memory         part resident_bytes mapped_bytes owner detail
 *   fragmentation  object_bytes spans objects in_use_bytes wasted_bytes, by wasted bytes
 *   self_check     key value
 *   warnings       text; each is told as a note, too
 */
int capture_refs_memory_report(const struct capture_refs_memory *m, struct report *to,
                               struct error *err);
