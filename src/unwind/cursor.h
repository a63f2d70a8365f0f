/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Reading DWARF bytes that may end anywhere. A read past the end gives 0 and
 * sets `bad`, once and for all, and the cursor stands at the end: loops over
 * "not at the end" finish, and one look at `bad` behind them is enough.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

static inline struct cursor cursor_on(const uint8_t *data, size_t len)
{
	return (struct cursor){ data, data + len, false };
}

static inline size_t cursor_left(const struct cursor *c)
{
	return c->end - c->at;
}

static inline void cursor_fail(struct cursor *c)
{
	c->at = c->end;
	c->bad = true;
}

static inline void cursor_skip(struct cursor *c, uint64_t n)
{
	if (n > cursor_left(c))
		cursor_fail(c);
	else
		c->at += n;
}

/* Little-endian, @bytes is 1, 2, 4 or 8. */
static inline uint64_t cursor_uint(struct cursor *c, size_t bytes)
{
	uint64_t v = 0;

	if (bytes > cursor_left(c)) {
		cursor_fail(c);
		return 0;
	}
	memcpy(&v, c->at, bytes);
	c->at += bytes;
	return v;
}

static inline int64_t cursor_int(struct cursor *c, size_t bytes)
{
	unsigned shift = 64 - 8 * bytes;

	return (int64_t)(cursor_uint(c, bytes) << shift) >> shift;
}

static inline uint64_t cursor_uleb(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; c->at < c->end; shift += 7) {
		uint8_t b = *c->at++;

		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	cursor_fail(c);
	return 0;
}

static inline int64_t cursor_sleb(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; c->at < c->end;) {
		uint8_t b = *c->at++;

		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
		if (b & 0x80)
			continue;
		if (shift < 64 && b & 0x40)
			v |= UINT64_MAX << shift;
		return (int64_t)v;
	}
	cursor_fail(c);
	return 0;
}

/* A NUL-terminated string, or NULL. */
static inline const char *cursor_string(struct cursor *c)
{
	const uint8_t *s = c->at, *nul = cursor_left(c) ? memchr(s, 0, cursor_left(c)) : NULL;

	if (!nul) {
		cursor_fail(c);
		return NULL;
	}
	c->at = nul + 1;
	return (const char *)s;
}
