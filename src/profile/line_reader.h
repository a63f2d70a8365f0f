/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Text of a file that is not NUL-terminated, line by line, and the numbers in
 * it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that belong to someone else. */
struct line {
	const char *at;
	size_t n;
};

struct line_reader {
	const char *at, *end;
	size_t number; /* of the last line, from 1 */
};

/* The next line without its newline and the '\r' before it; false at the end. */
bool line_reader_next(struct line_reader *r, struct line *ret);

struct line line_reader_trim(struct line l); /* without blanks at both ends */
bool line_reader_starts(struct line l, const char *prefix);
/* Offset of the last @what in the line, or -1. */
ptrdiff_t line_reader_last(struct line l, const char *what);

/* The whole text as a number; false if it is not one, or too large. */
bool line_reader_hex(struct line l, uint64_t *ret); /* "0x" optional */
bool line_reader_integer(struct line l, int64_t *ret);
/* As the above, and "12.5", to the nearest whole. */
bool line_reader_value(struct line l, int64_t *ret);
