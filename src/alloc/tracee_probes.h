/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which functions of a process are to be probed: asks the runtimes, at the
 * start and again when modules have come. The surprising rule: an allocator
 * that comes by dlopen is taken in like one that was there, and what it gave
 * out before is not seen.
 */

#include "alloc/tracee.h"
#include "base/error.h"

/* Every name of --allocator's @list must exist; else -EINVAL. */
int tracee_probes_check_list(const char *list, struct error *err);

/* Fill runtimes and probes of @t, whose space is open. -ENOTSUP: nothing can be
 * recorded, and why. */
int tracee_probes_find(struct tracee *t, struct error *err);

/* What was found in @parent holds in @t, its child. */
int tracee_probes_copy(struct tracee *t, const struct tracee *parent, struct error *err);

/* Add what is new in modules that were not there before. */
int tracee_probes_find_new(struct tracee *t, struct error *err);
