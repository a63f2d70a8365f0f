/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Colours of flame graphs. A frame's colour is a class number that depends on
 * its module (hue) and its function's name (shade) only, so the same code has
 * the same colour in every picture. Programs are warm, libraries cool, frames
 * without a module grey, those without a name paler. A diff has classes of its
 * own: red grew, blue shrank. Each class has two colours, for light and dark.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	COLOUR_SHADES = 4,
	COLOUR_WARM = 8,
	COLOUR_COOL = 18,
	COLOUR_HUES = 1 + COLOUR_WARM + COLOUR_COOL, /* 0: grey */
	COLOUR_DIFF_STEPS = 8,                       /* each way */
	COLOUR_DIFF = 2 * COLOUR_HUES * COLOUR_SHADES,
	COLOUR_CLASSES = COLOUR_DIFF + 2 * COLOUR_DIFF_STEPS + 1,
};

/* @module: without folders, "" for none. @is_named: the function has a name. */
unsigned colour_class(const char *module, const char *name, bool is_named);

/* @most: the largest |delta| in the picture. */
unsigned colour_diff_class(int64_t delta, int64_t most);

/* "#rrggbb" of a class, in @buf (8 bytes). */
const char *colour_hex(unsigned colour, bool dark, char buf[8]);
