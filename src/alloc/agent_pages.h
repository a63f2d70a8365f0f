/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * --patch page: the pages that will be patched are replaced by private copies
 * of ours, and the file's own pages wait aside. The kernel sets uprobes in
 * mappings of the file: while the agent is in, one that is set there goes to the
 * page aside, where it harms nobody, wherever in the function it is; and it
 * fires nowhere in this process until the file's pages are back.
 *
 * Neither way does a thread find other code than before: the copies have the
 * file's bytes when they come and when they go. All threads but the one that makes
 * the calls stand still for each page nevertheless, so that nobody unloads the
 * library meanwhile.
 *
 * The mapping that is made for it, at agent_table.pages_at, of N pages to be patched:
 *	one page	AGENT_MAGIC, or zeros, so that it is known whose it is
 *	N pages		the copies, until they are moved; they stay mapped, empty
 *	N pages		room for the file's pages, which leave it for good when they go back
 *
 * What is left by a memwho that was killed:
 *	a mapping, unused	taken away
 *	some pages aside	code as before; uprobes in these pages are silent. Put back
 */

#include <stdbool.h>

#include "agent/agent_format.h"
#include "base/error.h"
#include "inject/inject.h"
#include "target/maps_moved.h"
#include "target/target.h"

/* What is called in the target, for filters to be asked; *n of them. */
const struct inject_call *agent_pages_calls(size_t *n);

/* Replace the pages of @table's functions, which is written at @base, with no patch set so far.
 * *ret: for target->moved; clear it in any case. -ENOTSUP a page is not as its file has it, or the
 * kernel cannot (before Linux 5.13); agent_pages_drop() undoes what was done. */
int agent_pages_take(struct inject *in, const struct target *t, uint64_t base,
                     struct agent_table *table, struct maps_moved *ret, struct error *err);

/* Put all back that is aside, without any patch set; nothing to do is fine. -EBUSY: somebody has
 * changed a copy, which therefore stays. */
int agent_pages_drop(struct inject *in, const struct target *t, uint64_t base,
                     const struct agent_table *table, struct error *err);

/* Is the page at @at a copy of ours? @maps: maps_read_raw(). */
bool agent_pages_has(const struct maps *maps, const struct agent_table *table, uint64_t at);
