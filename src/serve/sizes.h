/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The figures of ladders that /metrics shows. They are read in the background, one
 * target at a time and never more often than every five seconds, since a ladder
 * costs up to a second; each target's are about a minute old, or older where there
 * are many.
 */

#include "serve/jobs.h"
#include "serve/metrics_page.h"
#include "serve/watched.h"

struct sizes;

int sizes_new(struct sizes **ret, struct error *err);
struct sizes *sizes_free(struct sizes *s, struct jobs *j);
/* Start the next one if it is due. To be called every second. */
void sizes_run(struct sizes *s, struct jobs *j, struct watched *w);
/* NULL: none was read yet of the processes that are there now. */
const struct metrics_page_rows *sizes_of(const struct sizes *s, const struct watched_item *item);
