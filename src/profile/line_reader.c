/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/line_reader.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool line_reader_next(struct line_reader *r, struct line *ret)
{
	const char *newline;
	struct line l = { r->at, 0 };

	if (r->at == r->end)
		return false;
	newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
	l.n = (size_t)((newline ? newline : r->end) - r->at);
	r->at = newline ? newline + 1 : r->end;
	r->number++;
	if (l.n && l.at[l.n - 1] == '\r')
		l.n--;
	*ret = l;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct line line_reader_trim(struct line l)
{
	while (l.n && is_blank(l.at[0])) {
		l.at++;
		l.n--;
	}
	while (l.n && is_blank(l.at[l.n - 1]))
		l.n--;
	return l;
}

bool line_reader_starts(struct line l, const char *prefix)
{
	size_t n = strlen(prefix);

	return l.n >= n && memcmp(l.at, prefix, n) == 0;
}

ptrdiff_t line_reader_last(struct line l, const char *what)
{
	size_t n = strlen(what), left = l.n < n ? 0 : l.n - n + 1;
	const char *at;

	while (left && (at = memrchr(l.at, what[0], left))) {
		if (memcmp(at, what, n) == 0)
			return at - l.at;
		left = (size_t)(at - l.at);
	}
	return -1;
}

bool line_reader_hex(struct line l, uint64_t *ret)
{
	uint64_t v = 0;

	if (line_reader_starts(l, "0x")) {
		l.at += 2;
		l.n -= 2;
	}
	if (!l.n || l.n > 16)
		return false;
	for (size_t i = 0; i < l.n; i++) {
		char c = l.at[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | (uint64_t)((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	*ret = v;
	return true;
}

/* In a buffer of its own, for strto...(): digits, sign, point only. */
static bool copy_number(struct line l, const char *also, char *buf, size_t size)
{
	if (!l.n || l.n >= size)
		return false;
	for (size_t i = 0; i < l.n; i++) {
		char c = l.at[i];

		if ((c < '0' || c > '9') && !(c == '-' && i == 0) && (!c || !strchr(also, c)))
			return false;
	}
	memcpy(buf, l.at, l.n);
	buf[l.n] = '\0';
	return true;
}

bool line_reader_integer(struct line l, int64_t *ret)
{
	char buf[32], *end;
	long long v;

	if (!copy_number(l, "", buf, sizeof(buf)))
		return false;
	errno = 0;
	v = strtoll(buf, &end, 10);
	if (errno || *end || end == buf)
		return false;
	*ret = v;
	return true;
}

bool line_reader_value(struct line l, int64_t *ret)
{
	char buf[64], *end;
	double v;

	if (line_reader_integer(l, ret))
		return true;
	if (!copy_number(l, ".", buf, sizeof(buf)) || !strchr(buf, '.'))
		return false;
	v = strtod(buf, &end);
	if (*end || end == buf || fabs(v) > 9e18)
		return false;
	*ret = llround(v);
	return true;
}
