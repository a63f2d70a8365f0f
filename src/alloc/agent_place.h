/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The agent's place in a target: made, filled, its patches set and taken back,
 * emptied. Nothing of the target is written but the five bytes of each patched
 * function, while all its threads stand still; what was there is in the agent's
 * table before the first one is changed, so that any memwho can undo what
 * another one did, wherever that one was killed.
 *
 * The surprising rule: the place is never unmapped (agent_format.h), it is
 * emptied, and used again by the next memwho that would write the same code.
 *
 * What is left by a memwho that was killed:
 *	a mapping without a table	nothing else was done; used by the next one
 *	a table, no or some patches	each is whole, and leads to a whole stub that
 *					passes calls through; undone
 *	all patches, sampling on	sampling ends by itself 2 s later; undone
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/agent_format.h"
#include "base/error.h"
#include "inject/inject.h"
#include "target/target.h"

/* Read @t's memory, also pages that it has not touched yet or that are swapped out:
 * how many bytes, or -errno. (target/reader.h would not make them present.) */
ssize_t agent_place_read(const struct target *t, uint64_t addr, void *buf, size_t n);

/* The lowest place of an agent in @t above @after; 0: none, or *err has an error. */
uint64_t agent_place_find(const struct target *t, uint64_t after, struct error *err);

/* Is there one that is not empty, or may not be? 1, 0, -errno. */
int agent_place_in_use(const struct target *t, struct error *err);

/* From the first to the last address that is to be patched. */
struct agent_span {
	uint64_t start, end;
};
enum { AGENT_MAX_SPAN = 1 << 30 }; /* wider than that, no place may be in reach of both ends */

/* Map one in reach of @near (the allocators' code). -ENOTSUP, -ENOMEM. */
int agent_place_make(struct inject *in, const struct target *t, struct agent_span near,
                     uint64_t *ret, struct error *err);
/* Can the one at @base, which is empty, be used for code near @near? It is finished if its
 * memwho was killed while it made it. 1, 0, -errno. */
int agent_place_take(struct inject *in, const struct target *t, uint64_t base,
                     struct agent_span near, struct error *err);

/* Write the code's image (AGENT_CODE_BYTES, @n_functions stubs). Where there is code
 * already, it must be the same: 1; 0: it is another, which may be executed still. */
int agent_place_fill(struct inject *in, uint64_t base, const uint8_t *image, size_t n_functions,
                     struct error *err);

/* Are the patches still as we made them? 1, 0 (*which has the first that is not), -errno (-ESRCH:
 * the process has ended, or is another program). One system call, a few microseconds: it is asked a
 * hundred times a second. */
int agent_place_check(struct inject *in, const struct target *t, const struct agent_table *table,
                      unsigned *which, struct error *err);

/* Turn the agent off, put the functions' bytes back, and give its memory back once no
 * thread is in it. 1; 0: all is done but the last (a thread does not leave it), for the
 * next memwho. */
int agent_place_empty(struct inject *in, const struct target *t, uint64_t base, struct error *err);

/* The same for all that memwhos which were killed have left: how many were not empty.
 * -EBUSY: a thread does not leave one. */
int agent_place_empty_all(struct inject *in, const struct target *t, struct error *err);

/* inject_open(), which says who is at work there. @pages: it will be --patch page. */
int agent_place_open(const struct target *t, bool pages, struct inject **ret, struct error *err);

/* Of a process that nobody records: find and empty. 1 done, 0 there was nothing to do.
 * What is needed for calls there may be left: inject_clean(). */
int agent_place_clean(const struct target *t, struct error *err);
