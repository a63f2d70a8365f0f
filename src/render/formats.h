/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The writers behind render.c's table; each is `render_format.write`. */

#include <stdio.h>

#include "render/render.h"

int table_write(const struct profile *p, const struct render_options *o, FILE *to,
                struct error *err);
int flame_write(const struct profile *p, const struct render_options *o, FILE *to,
                struct error *err);
int html_write(const struct profile *p, const struct render_options *o, FILE *to,
               struct error *err);
int profile_json_write(const struct profile *p, const struct render_options *o, FILE *to,
                       struct error *err);
int speedscope_write(const struct profile *p, const struct render_options *o, FILE *to,
                     struct error *err);

/* plain.c: the formats that src/profile writes, behind this folder's options. */
int plain_write_folded(const struct profile *p, const struct render_options *o, FILE *to,
                       struct error *err);
int plain_write_stap(const struct profile *p, const struct render_options *o, FILE *to,
                     struct error *err);
int plain_write_pprof(const struct profile *p, const struct render_options *o, FILE *to,
                      struct error *err);
int plain_write_heap(const struct profile *p, const struct render_options *o, FILE *to,
                     struct error *err);
