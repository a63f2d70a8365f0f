/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A ladder for a terminal: VIRTUAL, RESIDENT, ALLOCATOR, APPLICATION, then a
 * row for each kind of owner, findings, and what to type next. With
 * options->rows the rows of a kind follow under it, each with its evidence.
 */

#include <stdio.h>

#include "profile/profile.h"
#include "render/render.h"

/* -EINVAL: @p is no ladder. */
int ladder_text_write(const struct profile *p, const struct render_options *o, FILE *to,
                      struct error *err);
