/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * memwho alloc --engine jemalloc: the profiler of the process's own jemalloc, by
 * calls of its mallctl (capture_je.h). Without -d what it holds now; with -d what
 * that grew by. The surprising rule: where it was off it is switched on for that
 * time only, and off again afterwards.
 */

#include "cli/record.h"

/* CLI_DONE or -errno. */
int own_je_run(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
               struct error *err);
