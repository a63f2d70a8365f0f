/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A file that is there as a whole or not at all: written under a temporary
 * name beside @path, then renamed over it. What is not a regular file (a
 * pipe, /dev/full, "-" for stdout) is written directly. While an output is
 * open, SIGXFSZ (size limit) and SIGPIPE are held back in this thread, so that
 * they become errors of write() instead of the end of the process.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

struct output {
	FILE *to;
	const char *name; /* for messages */
	char *path;       /* where it belongs, symbolic links followed; NULL: written directly */
	char *temp;       /* where it is; NULL: nothing to remove */
	bool is_stdout;
	bool holds_signals;
	sigset_t old_mask;
};

int output_open(const char *path, struct output *ret, struct error *err);

/* Flush, fsync, rename. On failure the old file is untouched. */
int output_commit(struct output *o, struct error *err);

/* Close; remove what was not committed. For cleanup(); { 0 } is fine. */
void output_discard(struct output *o);
