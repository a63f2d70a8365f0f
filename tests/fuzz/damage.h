/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Damages to something whole, as a fuzzer's input: a place (4 bytes, little endian, modulo the
 * size), how many bytes (1, its lower half), and they; and so on. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void damage(uint8_t *b, size_t n, const uint8_t *data, size_t size)
{
	while (size > 5) {
		uint32_t at;
		size_t len = data[4] % 16;

		memcpy(&at, data, sizeof(at));
		data += 5;
		size -= 5;
		len = len < size ? len : size;
		at %= n;
		memcpy(b + at, data, len < n - at ? len : n - at);
		data += len;
		size -= len;
	}
}
