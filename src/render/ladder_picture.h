/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A ladder, or the difference of two, as flame graphs and pages draw it: the
 * address space (virtual unless asked otherwise), kinds on top, each kind a
 * colour, because a row has no module of its own to be coloured by. */

#include "profile/profile.h"
#include "render/render.h"

bool ladder_picture_is(const struct profile *p);
/* A copy of @p for drawing in *ret, and the options to draw it with in
 * *ret_options (its texts are @o's). */
int ladder_picture_make(const struct profile *p, const struct render_options *o,
                        struct profile **ret, struct render_options *ret_options,
                        struct error *err);
