/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * All threads of a target but the one that is lent, stopped for a moment: for a
 * copy with everybody's registers, and for calls between which nobody may change
 * the address space.
 */

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "inject/held.h"
#include "target/target.h"

struct others {
	struct held_limbo *limbo;
	unsigned patience_ms; /* all stand still for the last of them for so long */
	struct held *items;
	size_t n, cap;
	size_t n_missed; /* that run no code of the program now, but could not be stopped */
};

/* Until a look finds nobody new but @lent. A thread that cannot be stopped (it sleeps in the
 * kernel, uninterruptibly) is counted in ->n_missed. 0 or -errno: release them in any case. */
int others_stop(const struct target *t, pid_t lent, struct others *s, struct error *err);
/* Let all go where they were. */
void others_release(struct others *s);
