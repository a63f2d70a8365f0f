/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/utf8.h"

#include <stdint.h>

static int is_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

size_t utf8_sequence(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t need = p[0] < 0x80   ? 1
	              : p[0] < 0xc2 ? 0
	              : p[0] < 0xe0 ? 2
	              : p[0] < 0xf0 ? 3
	              : p[0] < 0xf5 ? 4
	                            : 0;

	if (!need || need > len)
		return 0;
	for (size_t i = 1; i < need; i++) {
		if (!is_tail(p[i]))
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return need;
}
