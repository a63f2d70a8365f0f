/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What alloc and run share: options -> a recording -> a written result.
 * Everything that the user can have got wrong is found before the target is
 * touched.
 */

#include <sys/types.h>

#include "capture/capture.h"
#include "cli/cli.h"
#include "cli/show.h"

struct record {
	struct capture_options capture;
	struct show show;
	bool table_too; /* -o FILE alone: the table goes to standard output */
	bool tells;     /* progress on the terminal */
	bool told;      /* a progress line stands there */
	pid_t pid;      /* for the next useful command; 0: several */
};

int record_parse(const struct cli_args *args, struct record *ret, struct error *err);
/* SIGINT and SIGTERM end the recording from now on. */
void record_catch_signals(void);
/* Record @pids and write the result. CLI_DONE, or -errno. */
int record_run(struct record *r, const pid_t *pids, size_t n, struct error *err);
