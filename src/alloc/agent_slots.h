/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the agent is told about threads' stacks. It copies pieces of them, and a
 * read behind a stack's end would kill the target. So it reads on only where
 * memwho has seen in the maps that all is mapped up to the end of that stack;
 * otherwise not beyond the page that it stands on.
 *
 * The surprising rule: a thread pointer does not name a thread. A later thread
 * may have the same one and a smaller stack; what is told holds for the thread
 * with the number that is told with it.
 */

#include <stdint.h>

#include "base/error.h"
#include "inject/inject.h"
#include "target/target.h"

/* The first thread's, as far as it reaches now; both 0: not known. */
int agent_slots_main_stack(const struct target *t, uint64_t *low, uint64_t *high,
                           struct error *err);

/* Look at all slots of the agent at @base; @slots_at: exact mode's, 0: those of its data. A table
 * that is nearly full is emptied: who goes on allocating takes a slot again, with a new countdown.
 */
int agent_slots_tend(struct inject *in, const struct target *t, uint64_t base, uint64_t slots_at,
                     struct error *err);
