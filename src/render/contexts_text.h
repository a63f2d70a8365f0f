/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A tree of memory contexts for a terminal: a row each, children under their
 * parents, as the server's own log has it. */

#include <stdio.h>

#include "profile/profile.h"
#include "render/render.h"

bool contexts_text_is(const struct profile *p);
int contexts_text_write(const struct profile *p, const struct render_options *o, FILE *to,
                        struct error *err);
