/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * memwho alloc on programs that keep a heap profile themselves (Go): it is read,
 * nothing is recorded. Options that only a recording can answer ask for one.
 */

#include "cli/record.h"

/* Show the own profile of the targets in @args: CLI_DONE, -errno, or 1: they
 * have none, or a recording is asked for. */
enum { OWN_NOT = 1 };
int own_run(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
            struct error *err);
/* Is the only word of @args a core? Then it is shown: CLI_DONE or -errno. */
bool own_is_core(const struct cli_args *args);
int own_run_core(const struct cli_args *args, struct record *r, struct error *err);
