/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The ladder of processes that run, as a profile: ladder, its --watch, and diff. */

#include <stddef.h>
#include <sys/types.h>

#include "map/ladder.h"

/* Of several that end meanwhile the others are left; -ESRCH: none is left. With
 * one process the report has its "settings" (map/settings.h), too. */
int live_ladder_read(const pid_t *pids, size_t n, const struct ladder_options *o,
                     struct profile **ret, struct error *err);
