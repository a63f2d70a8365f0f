/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Is no thread in some code of ours, that nobody enters any more? All are asked to
 * stop at the same time: one after the other, each would be waited for until it has
 * got a processor to stop on.
 */

#include <stdbool.h>
#include <stdint.h>

#include "inject/held.h"
#include "target/target.h"

/* False: somebody is in [@start, @end), or it could not be told in this way, as where a thread does
 * not stop; held_is_out_of() tells of each what there is. */
bool all_out_of(const struct target *t, const struct held_limbo *limbo, uint64_t start,
                uint64_t end);
