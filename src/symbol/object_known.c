/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "symbol/object_known.h"

#include <string.h>

#include "base/cleanup.h"
#include "object_known_text.h"
#include "symbol/object_code_internal.h"
#include "symbol/object_text.h"

static int add_one(struct object_code *c, const char *text, size_t len, struct error *err)
{
	cleanup(object_build_clear) struct object_build b = { 0 };
	int r = object_text_read(&b, text, len, err);

	return r < 0 ? r : object_code_add_build(c, &b, err);
}

int object_known_add(struct object_code *c, struct error *err)
{
	static const char begin[] = "title ";
	const char *at = strstr(object_known_text, begin);
	int r = 0;

	while (at && r == 0) {
		const char *next = strstr(at + 1, "\ntitle ");

		r = add_one(c, at, next ? (size_t)(next - at) : strlen(at), err);
		at = next ? next + 1 : NULL;
	}
	return r;
}
