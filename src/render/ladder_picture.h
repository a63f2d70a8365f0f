/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A ladder, or the difference of two, as flame graphs and pages draw it: the
 * address space (virtual unless asked otherwise), kinds on top, each kind a
 * colour, because a row has no module of its own to be coloured by. */

#include <stdio.h>

#include "profile/profile.h"
#include "render/render.h"

bool ladder_picture_is(const struct profile *p);
/* Write @p with @write; where it is a ladder, its picture with the options that
 * make one of it instead. */
int ladder_picture_write(const struct profile *p, const struct render_options *o, FILE *to,
                         int (*write)(const struct profile *p, const struct render_options *o,
                                      FILE *to, struct error *err),
                         struct error *err);
