/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any profile that can be read can be drawn: in every format, without a crash,
 * and what should be JSON is JSON. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/profile_file.h"
#include "render/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void draw(const struct profile *p, const struct render_format *f,
                 const struct render_options *o)
{
	cleanup_free char *text = NULL;
	struct error err;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	int r;

	if (!to)
		return;
	r = f->write(p, o, to, &err);
	if (fclose(to) != 0 || r < 0)
		return;
	if (strstr(f->suffix, "json")) {
		json_t *j = json_loadb(text, size, 0, NULL);

		if (!j)
			abort();
		json_decref(j);
	}
	/* a table goes to a terminal: no byte of it may steer one */
	if (!strcmp(f->name, "table") && memchr(text, '\033', size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct render_options o = { .type = -1, .min_width = -1 };
	cleanup(profile_freep) struct profile *p = NULL;
	struct error err;

	if (size < 2 || profile_file_parse(data + 1, size - 1, &p, &err) < 0)
		return 0;
	o.reverse = data[0] & 1;
	o.no_inline = data[0] & 2;
	o.columns = data[0];
	o.by = data[0] & 4 ? "module" : NULL;
	for (size_t i = 0; i < render_n_formats; i++)
		draw(p, &render_formats[i], &o);
	return 0;
}
