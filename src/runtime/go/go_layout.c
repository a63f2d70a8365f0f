/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_layout.h"

#include <stddef.h>

#include "base/cleanup.h"

/* clang-format off */
static const struct go_layout layouts[] = {
	/*  minor bits           types masks next spec large kind fn  fin clean weak status start inline */
	{ 17, GO_BITS_NIBBLES, 280, 480, 528, 128,   0, 10, 16, 1, 0, 0, 144, 312, 0 },
	{ 18, GO_BITS_NIBBLES, 280, 496, 544, 128,   0, 10, 16, 1, 0, 0, 144, 312, 0 },
	{ 19, GO_BITS_NIBBLES, 280, 496, 544, 128,   0, 10, 16, 1, 0, 0, 144, 312, 0 },
	{ 20, GO_BITS_ARENA,   296, 512, 560, 128,   0, 10, 16, 1, 0, 0, 144, 312, 0 },
	{ 21, GO_BITS_ARENA,   296, 536, 584, 136,   0, 10, 16, 1, 0, 0, 144, 296, 0 },
	{ 22, GO_BITS_SPAN,    296, 536, 584, 128, 152, 10, 16, 1, 0, 0, 144, 296, 0 },
	{ 23, GO_BITS_SPAN,    296, 536, 576, 128, 152, 10, 16, 1, 0, 2, 152, 304, 0 },
	{ 24, GO_BITS_SPAN,    296, 536, 576, 128, 152, 16, 24, 1, 6, 2, 152, 304, 0 },
	{ 25, GO_BITS_SPAN,    296, 536, 576, 128, 152, 16, 24, 2, 7, 3, 144, 296, 68608 },
	{ 26, GO_BITS_SPAN,    296, 544, 584, 128, 152, 16, 24, 2, 7, 3, 144, 304, 68608 },
};
/* clang-format on */

const struct go_layout *go_layout_of(unsigned minor)
{
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		if (layouts[i].minor == minor)
			return &layouts[i];
	}
	return NULL;
}
