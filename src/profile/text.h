/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Names as they may stand in files: hostile bytes replaced, nothing else
 * changed. */

#include <stddef.h>

#include "base/error.h"

/* A growing text, reused from name to name. { 0 } is empty. */
struct text {
	char *s; /* NUL-terminated once anything was put in */
	size_t n, cap;
};

void text_clear(struct text *t);
int text_append(struct text *t, const char *s, size_t len, struct error *err);

/* Append @s as valid UTF-8 without NUL: each bad byte becomes U+FFFD. */
int text_append_utf8(struct text *t, const char *s, size_t len, struct error *err);

/* Append @s with backslash, control bytes and every byte of @also as \xNN. */
int text_append_escaped(struct text *t, const char *s, const char *also, struct error *err);
/* The other way round. What is no escape stays as it is. */
int text_append_unescaped(struct text *t, const char *s, size_t len, struct error *err);
