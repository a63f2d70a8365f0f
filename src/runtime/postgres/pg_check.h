/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The self-check before anything is offered: decode chunks of the live process
 * with the very plans that an engine would run, and see whether they fill their
 * blocks to the byte and name their contexts.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/postgres/pg_layout.h"
#include "runtime/postgres/pg_memory.h"
#include "runtime/postgres/pg_tree.h"

struct pg_check {
	uint64_t contexts, chunks;
	uint64_t by_class[PG_N_CLASSES]; /* chunks */
};

/* Up to about @max_chunks, of many contexts (0: all). -EAGAIN: does not fit (torn, or another
 * layout); *err says where. */
int pg_check_chunks(struct pg_memory *m, const struct pg_layout *l, const struct pg_tree *tree,
                    uint64_t max_chunks, struct pg_check *ret, struct error *err);
