/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* jemalloc's "heap_v2/INTERVAL" dump (jemalloc 4.x-5.x src/prof_data.c), read
 * by jeprof. Read values are made unbiased as jeprof does; addresses become
 * (module, offset) by the MAPPED_LIBRARIES section. */

#include <stdio.h>

#include "profile/profile.h"

int heap_v2_write(const struct profile *p, FILE *to, struct error *err);
int heap_v2_read(const char *data, size_t len, struct profile **ret, struct error *err);
