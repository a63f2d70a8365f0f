/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What was read of a libc's heap, as heaps, regions and findings. @number counts
 * libcs in one process (dlmopen): 0 is the first. */

#include "runtime/glibc/glibc_mmapped.h"
#include "runtime/glibc/glibc_view.h"

int glibc_report_arenas(const struct glibc_view *v, const struct regions_input *in, unsigned number,
                        struct regions *to, struct error *err);
int glibc_report_mmapped(const struct glibc_view *v, const struct glibc_mmapped *m, unsigned number,
                         struct regions *to, struct error *err);
int glibc_report_findings(const struct glibc_view *v, const struct regions_input *in,
                          struct regions *to, struct error *err);
/* "main arena", "arena 3" */
void glibc_report_arena_name(const struct glibc_arenas *all, size_t arena, unsigned number,
                             char *buf, size_t size);
