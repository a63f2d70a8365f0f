/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A saved ladder is foreign: read it, draw it, compare it with itself and with
 * one that has less. What should be JSON is JSON, and no byte steers a terminal. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/ladder_diff.h"
#include "profile/saved_ladder.h"
#include "render/ladder_watch.h"
#include "render/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char little[] =
	"{\"format\":\"memwho-ladder-1\",\"result\":\"ladder\",\"virtual_bytes\":4096,"
	"\"parts\":[{\"kind\":\"file\",\"name\":\"libc.so.6\",\"virtual_bytes\":4096,"
	"\"resident_bytes\":4096,\"in_use_bytes\":null,\"figures\":{\"a_bytes\":1}}],"
	"\"settings\":{\"rlimit stack\":\"8192 kB\",\"env MALLOC_ARENA_MAX\":\"1\"}}";

static void check(const char *name, const char *text, size_t size)
{
	if (!strcmp(name, "json")) {
		json_t *j = json_loadb(text, size, 0, NULL);

		if (!j)
			abort();
		json_decref(j);
	}
	if (!strcmp(name, "table") && memchr(text, '\033', size))
		abort();
}

static void draw(const struct profile *p, const char *name, const struct render_options *o)
{
	cleanup_free char *text = NULL;
	struct error err;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	int r;

	if (!to)
		return;
	r = render_find(name)->write(p, o, to, &err);
	if (fclose(to) == 0 && r == 0)
		check(name, text, size);
}

static void compare(const struct profile *a, const struct profile *b)
{
	static const struct render_options o = { .type = -1, .min_width = -1 };
	cleanup(profile_freep) struct profile *d = NULL;
	cleanup_free char *text = NULL;
	struct error err;
	size_t size;
	FILE *to;

	if (ladder_diff_profile(a, b, NULL, &d, &err) < 0)
		return;
	draw(d, "table", &o);
	draw(d, "json", &o);
	to = open_memstream(&text, &size);
	if (to && ladder_watch_write(a, b, 1, false, &o, to, &err) < 0)
		abort();
	if (to)
		fclose(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const formats[] = { "table", "json", "svg", "html" };
	cleanup(profile_freep) struct profile *p = NULL, *other = NULL;
	struct render_options o = { .type = -1, .min_width = -1 };
	struct error err;

	if (size < 2 || saved_ladder_parse((const char *)data + 1, size - 1, &p, &err) < 0)
		return 0;
	o.columns = data[0];
	o.rows = data[0] & 3;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		draw(p, formats[i], &o);
	if (saved_ladder_parse(little, strlen(little), &other, &err) < 0)
		abort();
	compare(p, other);
	compare(other, p);
	compare(p, p);
	return 0;
}
