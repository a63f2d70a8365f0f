/* SPDX-License-Identifier: GPL-2.0-or-later */
/* picture CASE FILE [OPTION=VALUE]...: a case of render_samples.h as a file, in
 * the format of the file's ending. For the browser tests and for looking. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/render.h"
#include "render_samples.h"

static void option(struct render_options *o, const char *arg)
{
	const char *value = strchr(arg, '=');

	value = value ? value + 1 : "";
	o->reverse |= !strcmp(arg, "reverse");
	o->inverted |= !strcmp(arg, "inverted");
	o->colour |= !strcmp(arg, "colour");
	if (!strncmp(arg, "title=", 6))
		o->title = value;
	if (!strncmp(arg, "min-width=", 10))
		o->min_width = strtod(value, NULL);
	if (!strncmp(arg, "columns=", 8))
		o->columns = (int)strtol(value, NULL, 10);
	if (!strncmp(arg, "rows=", 5))
		o->rows = (int)strtol(value, NULL, 10);
	if (!strncmp(arg, "focus=", 6))
		o->focus = value;
	if (!strncmp(arg, "ignore=", 7))
		o->ignore = value;
	if (!strncmp(arg, "by=", 3))
		o->by = value;
	if (!strncmp(arg, "type=", 5))
		o->type = (int)strtol(value, NULL, 10);
}

int main(int argc, char **argv)
{
	struct render_options o = { .type = -1, .min_width = -1 };
	const struct render_format *format;
	cleanup(profile_freep) struct profile *p = NULL;
	struct error err;

	if (argc < 3)
		return 2;
	p = render_samples_make(argv[1]);
	format = strcmp(argv[2], "-") ? render_find_file(argv[2]) : render_find("table");
	for (int i = 3; i < argc; i++)
		option(&o, argv[i]);
	if (!p || !format)
		return 2;
	if (render_to_file(p, format, &o, argv[2], &err) == 0)
		return 0;
	error_print(&err, stderr);
	return 1;
}
