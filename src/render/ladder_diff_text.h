/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Two ladders side by side (profile/ladder_diff.h), for a terminal and for
 * scripts (ladder_diff_json.c). -EINVAL: @p is no such thing. */

#include <stdio.h>

#include "profile/profile.h"
#include "render/render.h"

int ladder_diff_text_write(const struct profile *p, const struct render_options *o, FILE *to,
                           struct error *err);
