/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What map and run --map share: options -> a trace of mappings -> a written
 * result. */

#include <stdio.h>
#include <sys/types.h>

#include "base/json.h"
#include "capture/capture_map.h"
#include "cli/cli.h"
#include "cli/record.h"
#include "cli/show.h"

struct map {
	struct capture_map_options capture;
	struct show show;
	bool table_too; /* -o FILE alone: the table goes to standard output */
	bool ranges;    /* --ranges: these instead of stacks */
	FILE *to;       /* where they are written */
	struct json json;
	struct record_line line;
	pid_t pid; /* for the next useful command; 0: several */
};

extern const struct cli_option map_options[];

int map_parse(const struct cli_args *args, struct map *ret, struct error *err);
/* Trace @pids and write the result. CLI_DONE, or -errno. */
int map_run(struct map *m, const pid_t *pids, size_t n, struct error *err);
