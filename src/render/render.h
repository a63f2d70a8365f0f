/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Profile + report -> something to look at or to feed to a script. Each format
 * is one file and one line in the table in render.c; the table is the only
 * list (help, man page, completion and tests are checked against it). A
 * renderer never opens a process.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"
#include "profile/profile.h"

struct render_options {
	int type;           /* value type to draw; -1: the profile's default */
	bool reverse;       /* leaf at the bottom: merge by callee */
	bool inverted;      /* icicle: root row at the top */
	const char *title;  /* NULL: made from the report */
	double min_width;   /* SVG: narrowest frame drawn, in pixels; < 0: default */
	const char *focus;  /* extended regexp: only stacks with a matching frame */
	const char *ignore; /* extended regexp: drop stacks with a matching frame */
	const char *by;     /* root frame: thread, module, type, size, or a label's key */
	bool no_inline;     /* drop inlined frames */
	bool colour;        /* table: ANSI colours */
	int columns;        /* table: width; 0: 100 */
	int rows;           /* table: how many stacks; 0: 20 */
	bool is_diff;       /* profile made by profile_diff() */
};

struct render_format {
	const char *name;    /* --format NAME */
	const char *suffix;  /* -o FILE ends in this: ".svg" */
	const char *summary; /* one line of help */
	bool binary;         /* not for a terminal */
	int (*write)(const struct profile *p, const struct render_options *o, FILE *to,
	             struct error *err);
};

extern const struct render_format render_formats[];
extern const size_t render_n_formats;

const struct render_format *render_find(const char *name);      /* NULL: unknown */
const struct render_format *render_find_file(const char *path); /* by its ending */

/* Write to a temporary file beside @path, then rename: a full disk leaves the
 * old file as it was and no temporary file. "-" is stdout. */
int render_to_file(const struct profile *p, const struct render_format *format,
                   const struct render_options *o, const char *path, struct error *err);

/* Can @path be written, as far as that shows before? A regular file that is there
 * stays as it is; what is no file (a pipe) is not opened. */
int render_can_write(const char *path, struct error *err);

/* Stream errors (disk full) turned into an error. */
int render_check(FILE *to, struct error *err);
