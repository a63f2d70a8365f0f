/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/escape.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

enum { REPLACEMENT = 0xfffd };

static uint32_t decode(const char *s, size_t n)
{
	static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t c = (unsigned char)s[0] & first[n];

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)s[i] & 0x3f);
	return c;
}

static bool is_forbidden(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) ||         /* C0, DEL, C1 */
	       c == 0x200e || c == 0x200f ||                  /* direction marks and */
	       (c >= 0x2028 && c <= 0x202e) ||                /* overrides, line separators */
	       (c >= 0x2066 && c <= 0x2069) || c == 0xfeff || /* isolates */
	       (c & 0xfffe) == 0xfffe;                        /* not characters: illegal in XML */
}

uint32_t escape_next(const char *s, size_t len, size_t *n)
{
	uint32_t c;

	*n = utf8_sequence(s, len);
	if (!*n) {
		*n = 1;
		return REPLACEMENT;
	}
	c = decode(s, *n);
	if (c == '\n' || c == '\t' || c == '\r')
		return ' ';
	return is_forbidden(c) ? REPLACEMENT : c;
}

static void put_xml(FILE *to, const char *s, size_t n, uint32_t c)
{
	switch (c) {
	case '&': fputs("&amp;", to); break;
	case '<': fputs("&lt;", to); break;
	case '>': fputs("&gt;", to); break;
	case '"': fputs("&quot;", to); break;
	case '\'': fputs("&#39;", to); break;
	case ' ': fputc(' ', to); break;
	case REPLACEMENT: fputs("\xef\xbf\xbd", to); break;
	default: fwrite(s, 1, n, to);
	}
}

static void put_text(FILE *to, const char *s, size_t n, uint32_t c)
{
	if (c == ' ')
		fputc(' ', to);
	else if (c == REPLACEMENT)
		fputs("\xef\xbf\xbd", to);
	else
		fwrite(s, 1, n, to);
}

static size_t put_all(FILE *to, const char *s, size_t max_chars,
                      void (*put)(FILE *, const char *, size_t, uint32_t))
{
	size_t len = strlen(s), done = 0, n;

	for (; len; s += n, len -= n, done++) {
		uint32_t c = escape_next(s, len, &n);

		if (max_chars && done + 1 == max_chars && len > n) {
			fputs("\xe2\x80\xa6", to);
			return done + 1;
		}
		put(to, s, n, c);
	}
	return done;
}

void escape_xml(FILE *to, const char *s, size_t max_chars)
{
	put_all(to, s, max_chars, put_xml);
}

size_t escape_text(FILE *to, const char *s, size_t max_chars)
{
	return put_all(to, s, max_chars, put_text);
}

size_t escape_width(const char *s)
{
	size_t len = strlen(s), done = 0, n;

	for (; len; s += n, len -= n, done++)
		escape_next(s, len, &n);
	return done;
}

static const char *skip_chars(const char *s, size_t n)
{
	size_t len = strlen(s), step;

	for (; n && len; n--, s += step, len -= step)
		escape_next(s, len, &step);
	return s;
}

void escape_text_middle(FILE *to, const char *s, size_t max_chars)
{
	size_t columns = escape_width(s), tail = max_chars * 2 / 5;

	if (columns <= max_chars) {
		escape_text(to, s, 0);
	} else {
		escape_text(to, s, max_chars - tail);
		escape_text(to, skip_chars(s, columns - tail), 0);
	}
}
