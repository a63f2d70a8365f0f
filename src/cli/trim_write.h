/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What trim and delta found, for a terminal and for scripts. */

#include <stdbool.h>
#include <stdio.h>

#include "base/json.h"
#include "capture/capture_trim.h"

void trim_write_text(const struct capture_trim *c, FILE *to);
void trim_write_json(const struct capture_trim *c, FILE *to);

/* ---- shared by both commands ---- */

/* The title of the columns, and "resident  812.3 MiB  301.0 MiB  -511.3 MiB"; -1: not known. */
void trim_write_head(FILE *to);
void trim_write_row(FILE *to, const char *title, int64_t before, int64_t after);
/* Resident, swapped, PSS of the process. */
void trim_write_process(FILE *to, const struct heaps *before, const struct heaps *after);
/* The figures of a heap in bytes that changed; either side may be NULL. */
void trim_write_figures(FILE *to, const struct heaps_heap *before, const struct heaps_heap *after);

/* "NAME_before_bytes", "NAME_after_bytes"; null where it is not known. */
void trim_write_json_pair(struct json *j, const char *name, int64_t before, int64_t after);
void trim_write_json_process(struct json *j, const struct heaps *before, const struct heaps *after);
/* "resident_before_bytes" ... and "figures": key -> [before, after]. */
void trim_write_json_heap(struct json *j, const struct heaps_heap *before,
                          const struct heaps_heap *after);
