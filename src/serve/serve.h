/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * `memwho serve`: one thread that polls HTTP, the captures' processes and
 * signals. SIGHUP reads the configuration again (with a mistake in it, nothing
 * changes); SIGTERM lets the targets go, answers who waits, and ends.
 */

#include "base/error.h"
#include "serve/config.h"

/* Returns when it was told to end: 0, or -errno when it could not begin. */
int serve_run(const char *path, struct error *err);

/* What config_read() leaves to those who know: rules of triggers, servers of pushes. */
int serve_check(const struct config *c, struct error *err);
