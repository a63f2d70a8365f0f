/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What grew between two looks at one process, per row and per second: what
 * --watch prints. */

#include <stdbool.h>
#include <stdio.h>

#include "profile/profile.h"
#include "render/render.h"

/* @total: a summary, with what came in @seconds instead of per second.
 * -EINVAL: not two ladders. */
int ladder_watch_write(const struct profile *before, const struct profile *after, double seconds,
                       bool total, const struct render_options *o, FILE *to, struct error *err);
