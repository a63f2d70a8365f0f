/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* memwho TARGET --contexts: the memory contexts of PostgreSQL processes. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "cli/show.h"

/* @cluster: all processes of each one's server. A process that ends meanwhile is
 * left out where there are others. */
int contexts_show(const pid_t *pids, size_t n, bool cluster, const struct show *show,
                  struct error *err);
