/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * From options_output and options_view to a written result: alloc, run, render
 * and diff say it the same way. The surprising rule: show_parse() is called
 * before a recording begins, so that a mistake in --format costs no 13 seconds.
 */

#include "cli/cli.h"
#include "render/render.h"

/* --type: what was allocated and freed again; made of the others, not recorded. */
#define SHOW_CHURN "churn"

struct show {
	const struct render_format *format;
	const char *path;      /* "-": standard output */
	const char *type_name; /* --type; NULL: the profile's default */
	struct render_options options;
};

/* The format is --format's (or --json's), else by the ending of -o FILE, else
 * a table. -EINVAL: unknown format or ending, a number that is none, or a
 * binary format for a terminal. */
int show_parse(const struct cli_args *args, struct show *ret, struct error *err);

/* Write the result to where it belongs. */
int show_profile(const struct show *s, const struct profile *p, struct error *err);
