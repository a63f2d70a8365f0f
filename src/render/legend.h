/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The lines under a flame graph: which colour is which module, and what a
 * diff's colours mean. */

#include <stdio.h>

#include "render/tree.h"

enum { LEGEND_ROW_PX = 20 };

/* Height that legend_write() needs, in pixels. */
int legend_height(const struct tree *t);

/* Chips in one row below @y, within @width pixels: modules by the area that
 * they cover, as many as fit. Marks the classes that it draws in @used. */
int legend_write(const struct tree *t, FILE *to, int x, int y, int width, bool *used,
                 struct error *err);
