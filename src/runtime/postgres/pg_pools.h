/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The tree of contexts in the words of runtime.h, and what is known about the
 * memory around it: whose malloc made the blocks, and which contexts wait in
 * aset.c's context_freelists, deleted and kept (up to 100 of two sizes): malloc
 * counts those, the tree does not have them. The lists are static; they are
 * found by their shape, and only when exactly one place has it.
 */

#include <stdbool.h>

#include "base/error.h"
#include "runtime/postgres/pg_server.h"
#include "runtime/runtime.h"

int pg_pools_read(const struct runtime_view *v, struct runtime_pools *ret, struct error *err);

/* After a look: did glibc's malloc make TopMemoryContext? */
bool pg_pools_are_in_glibc(struct pg_server *s);
