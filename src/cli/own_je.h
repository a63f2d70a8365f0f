/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * memwho alloc --engine jemalloc: the profiler of the process's own jemalloc, by
 * calls of its mallctl (capture_je.h). Without -d what it holds now; with -d what
 * that grew by. The surprising rule: where it was off it is switched on for that
 * time only, and off again afterwards.
 */

#include "cli/record.h"

/* Without --engine: the same, where the one process was started with opt.prof, and no option asks
 * for a recording. OWN_NOT (own.h): it was not, or its profiler is off and there is no -d, or
 * cannot be asked (said on standard error). */
int own_je_auto(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
                struct error *err);

/* CLI_DONE or -errno. */
int own_je_run(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
               struct error *err);
