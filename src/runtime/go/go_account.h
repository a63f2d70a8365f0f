/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the pages of a Go process's heap hold: live objects, garbage, room that
 * size classes waste, idle pages, stacks, the runtime's own records. Span by span
 * and page by page from page tables: the runtime's counters tell what is
 * mapped, which was seen to be twice what is resident.
 */

#include "base/error.h"
#include "runtime/go/go_objects.h"
#include "runtime/graph_account.h"

/* @node: of each slot of @o; UINT32_MAX: not reached. Of an image of a process by its page tables,
 * of a core by what is mapped. */
int go_account_make(struct go_objects *o, const uint32_t *node, struct graph_account *ret,
                    struct error *err);
