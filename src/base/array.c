/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>

int array_reserve_bytes(void **items, size_t *cap, size_t need, size_t elem_bytes,
                        struct error *err)
{
	size_t n = *cap ? *cap : 16;
	size_t bytes;
	void *grown;

	if (need <= *cap)
		return 0;
	while (n < need) {
		if (n > SIZE_MAX / 2)
			return error_oom(err);
		n *= 2;
	}
	if (__builtin_mul_overflow(n, elem_bytes, &bytes))
		return error_oom(err);
	grown = realloc(*items, bytes);
	if (!grown)
		return error_oom(err);
	*items = grown;
	*cap = n;
	return 0;
}
