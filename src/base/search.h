/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Binary search in any ascending list. The surprising rule: @is_before is an
 * expression, evaluated for some of the places @i in [0, @n); it has to be true
 * up to one place and false from there on.
 */

#include <stddef.h>

/* The first place at which @is_before is false; @n: it is true of all. As
 * std::partition_point() of C++. */
#define partition_point(n, i, is_before)                                                           \
	({                                                                                         \
		size_t low_ = 0, high_ = (n);                                                      \
                                                                                                   \
		while (low_ < high_) {                                                             \
			const size_t i = low_ + (high_ - low_) / 2;                                \
                                                                                                   \
			if (is_before)                                                             \
				low_ = i + 1;                                                      \
			else                                                                       \
				high_ = i;                                                         \
		}                                                                                  \
		low_;                                                                              \
	})
