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

/* An option of @args that only a recording can answer; NULL: none. */
const char *own_asks_for_recording(const struct cli_args *args);
/* Wait for -d's time (or Ctrl-C), read again, and compare with @before. */
typedef int own_read_fn(void *arg, struct profile **ret, struct error *err);
int own_growth(struct record *r, const struct profile *before, own_read_fn *read, void *arg,
               struct profile **ret, struct error *err);
