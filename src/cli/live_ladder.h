/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The ladder of processes that run, as a profile: ladder, its --watch, and diff. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "map/ladder.h"

/* Of several that end meanwhile the others are left; -ESRCH: none is left. With
 * @settings, and one process, the report has them (map/settings.h): for what is
 * kept or compared, as a table shows none and they take time. */
int live_ladder_read(const pid_t *pids, size_t n, const struct ladder_options *o, bool settings,
                     struct profile **ret, struct error *err);
