/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Command line -> struct cli_args, by the command's option tables. Options may
 * stand anywhere before "--"; what follows "--" is never looked at. An option
 * with an argument takes the next word whatever it looks like, so that
 * "-d -1" is told what is wrong with -1.
 */

#include "cli/cli.h"

/* @argv is borrowed (the command's name is not in it). -EINVAL: the message
 * names the option, the hint the nearest one that exists. */
int args_parse(const struct cli_command *command, int argc, char **argv, struct cli_args *ret,
               struct error *err);
void args_clear(struct cli_args *args);
