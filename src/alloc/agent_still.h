/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What is done to the allocator's code while all threads of the target stand
 * still: the patches are set and taken back, five bytes each, in one write that
 * does not cross a page, so that a memwho that is killed leaves each of them
 * whole.
 *
 * The surprising rule: a pc on the stack counts, too. A signal handler may have
 * interrupted a thread in the middle of what is to be changed, and it will
 * return there.
 */

#include <stdint.h>

#include "agent/agent_format.h"
#include "base/error.h"
#include "inject/inject.h"
#include "target/target.h"

/* Write into the journal of the place at @base. */
int agent_still_note(struct inject *in, uint64_t base, enum agent_place_state place,
                     struct error *err);

/* Set all patches of @table and turn the agent on with @control. -EAGAIN: threads stood
 * in the way all the time; -EBUSY: the code is not what it was when it was planned. Some
 * patches may be set then. *ret_ns: the longest that the target stood still. */
int agent_still_patch(struct inject *in, const struct target *t, uint64_t base,
                      const struct agent_table *table, const struct agent_control *control,
                      uint64_t *ret_ns, struct error *err);

/* Turn the agent off and put back the bytes of all patches that are set. */
int agent_still_undo(struct inject *in, const struct target *t, uint64_t base,
                     const struct agent_table *table, struct error *err);

/* Wait until no thread is in the agent's code but for calls that will return to it.
 * -EAGAIN: some thread always is. */
int agent_still_wait(struct inject *in, const struct target *t, uint64_t base,
                     const struct agent_table *table, struct error *err);
