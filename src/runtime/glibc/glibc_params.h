/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * glibc's struct malloc_par (mp_) by shape. Its anchor is sbrk_base, which is
 * where the main arena's memory starts; in a process that never used brk, the
 * defaults around the counters.
 */

#include "runtime/glibc/glibc_arena.h"

/* @data: where @main was found. ret->found says whether it was. */
void glibc_params_find(struct peek *p, const struct regions_data *data,
                       const struct glibc_arena *main, struct glibc_params *ret);
