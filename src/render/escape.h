/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The one place where foreign text (symbol names, labels, titles) becomes
 * XML, HTML or terminal text; JSON strings are base/json.h's. The result is
 * valid UTF-8 without control bytes: what is not allowed becomes U+FFFD, a
 * newline or tab a space. Characters that turn the direction of text round
 * are replaced too, as they make a name read as another one.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* For element content and quoted attributes alike. Cut after @max_chars
 * characters (the last one is then "…"); 0: no limit. */
void escape_xml(FILE *to, const char *s, size_t max_chars);

/* For a terminal. As above. Returns the number of columns written. */
size_t escape_text(FILE *to, const char *s, size_t max_chars);
/* The same, but what is too much is taken out of the middle: of a long name the end tells most,
 * "std::map<st…>::emplace". */
void escape_text_middle(FILE *to, const char *s, size_t max_chars);

/* Next character of @s (len > 0): its bytes' number in *n, its safe form
 * returned: the code point, ' ' or U+FFFD. */
uint32_t escape_next(const char *s, size_t len, size_t *n);

/* Columns of escape_text(s). */
size_t escape_width(const char *s);
