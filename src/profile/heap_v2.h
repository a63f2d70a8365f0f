/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * jemalloc's "heap_v2/INTERVAL" dump (jemalloc 4.x-5.x src/prof_data.c), read
 * by jeprof. Read values are made unbiased as jeprof does; addresses become
 * (module, offset) by the MAPPED_LIBRARIES section: what is mapped below 4 GiB
 * is taken for a program that is not position-independent.
 *
 * Written dumps have interval 0 (values are totals), made-up addresses, and a
 * section MEMWHO_NAMES behind the libraries, which jeprof steps over and the
 * reader knows. jeprof itself looks names up in the files, as always; that
 * goes wrong for a program that is not position-independent.
 */

#include <stdio.h>

#include "profile/profile.h"

/* Held and allocated objects and bytes; labels, inlined frames and build ids
 * are left out. -EINVAL without inuse_space, or for negative values. */
int heap_v2_write(const struct profile *p, FILE *to, struct error *err);
/* The report has "sample_interval_bytes". -EBADMSG says which line is wrong. */
int heap_v2_read(const char *data, size_t len, struct profile **ret, struct error *err);
