/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the tables say, for people (help, at most 80 columns) and as JSON for
 * the tests that compare it with the man pages. */

#include <stdio.h>

#include "cli/cli.h"

void help_overview(FILE *to);
void help_command_text(const struct cli_command *command, FILE *to);
void help_json(FILE *to);
