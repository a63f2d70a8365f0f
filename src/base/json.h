/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The one JSON writer. It writes to a stream as it goes, places commas by
 * itself, and turns any bytes into valid JSON strings: invalid UTF-8 becomes
 * U+FFFD, so that a hostile symbol name cannot break a consumer. Errors of the
 * stream are the stream's (ferror() at the end).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *to;
	int depth;      /* nesting; at most JSON_MAX_DEPTH */
	bool comma[32]; /* a value was written at this depth */
	bool after_key;
};

enum { JSON_MAX_DEPTH = 32 };

struct json json_on(FILE *to);
void json_object(struct json *j);
void json_object_end(struct json *j);
void json_array(struct json *j);
void json_array_end(struct json *j);
void json_key(struct json *j, const char *key);
void json_string(struct json *j, const char *s);
void json_string_n(struct json *j, const char *s, size_t len);
void json_int(struct json *j, int64_t v);
void json_uint(struct json *j, uint64_t v);
void json_double(struct json *j, double v); /* NaN and infinities become null */
void json_bool(struct json *j, bool v);
void json_null(struct json *j);
