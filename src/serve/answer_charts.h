/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The pictures of the page: SVG in the text of it, so that it needs no script. */

#include <stdint.h>
#include <stdio.h>

#include "serve/metrics_page.h"
#include "serve/watched.h"

/* "12.3 MiB" */
void answer_charts_bytes(FILE *to, uint64_t bytes);
/* Resident memory of the last ten minutes, from 0, so that a small change does not look like a
 * large one. */
void answer_charts_growth(const struct watched_item *item, FILE *to);
/* What resident memory is, by owner: a bar and its largest parts. NULL: not read yet. */
void answer_charts_ladder(const struct metrics_page_rows *rows, FILE *to);
