/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What our executables have in common: memwho (main.c) and memwho-serve
 * (serve_main.c), which memwho starts for `memwho serve`, so that the libraries
 * of the service are not loaded for anything else.
 */

#include "cli/cli.h"

/* Before anything is opened. */
void program_begin(void);

/* Parse what follows the command's name and run it. As struct cli_command's run. */
int program_run(const struct cli_command *command, int argc, char **argv, struct error *err);

/* The exit status for @r of program_run(). Failures are printed here and nowhere else. */
int program_finish(int r, const struct error *err);
