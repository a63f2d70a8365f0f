/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A text in the making, in memory. */
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

struct http_text {
	FILE *to;
	char *text;
	size_t len;
};
int http_text_begin(struct http_text *t, struct error *err);
void http_text_clear(struct http_text *t); /* { 0 } is fine */
