/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/utf8.h"

void text_clear(struct text *t)
{
	free(t->s);
	*t = (struct text){ 0 };
}

int text_append(struct text *t, const char *s, size_t len, struct error *err)
{
	int r = array_reserve(&t->s, &t->cap, t->n + len + 1, err);

	if (r < 0)
		return r;
	if (len)
		memcpy(t->s + t->n, s, len);
	t->n += len;
	t->s[t->n] = '\0';
	return 0;
}

int text_append_utf8(struct text *t, const char *s, size_t len, struct error *err)
{
	size_t good = 0;
	int r = 0;

	while (r == 0 && good < len) {
		size_t n = s[good] ? utf8_sequence(s + good, len - good) : 0;

		if (n) {
			good += n;
			continue;
		}
		r = text_append(t, s, good, err);
		if (r == 0)
			r = text_append(t, "\xef\xbf\xbd", 3, err);
		s += good + 1;
		len -= good + 1;
		good = 0;
	}
	return r < 0 ? r : text_append(t, s, good, err);
}

int text_append_escaped(struct text *t, const char *s, const char *also, struct error *err)
{
	char hex[8];
	int r = text_append(t, "", 0, err);

	for (; r == 0 && *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c >= 0x20 && c != 0x7f && c != '\\' && !strchr(also, c)) {
			r = text_append(t, s, 1, err);
			continue;
		}
		snprintf(hex, sizeof(hex), "\\x%02x", c);
		r = text_append(t, hex, 4, err);
	}
	return r;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_append_unescaped(struct text *t, const char *s, size_t len, struct error *err)
{
	int r = text_append(t, "", 0, err);

	for (size_t i = 0; r == 0 && i < len; i++) {
		char c = s[i];

		if (c == '\\' && len - i >= 4 && s[i + 1] == 'x' && hex_digit(s[i + 2]) >= 0 &&
		    hex_digit(s[i + 3]) >= 0) {
			c = (char)(hex_digit(s[i + 2]) << 4 | hex_digit(s[i + 3]));
			i += 3;
		}
		r = text_append(t, &c, 1, err);
	}
	return r;
}
