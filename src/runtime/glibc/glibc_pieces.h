/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The main arena when brk could not go on, because somebody else's memory lay where
 * the next piece was asked for. It then has what brk gave before, and pieces of at
 * least 1 MiB by mmap, of which no list exists; but each is filled with chunks from
 * its first byte to a fence at its end, or to the top chunk
 * (glibc malloc/malloc.c: sysmalloc(), 2.26 to 2.41).
 */

#include "base/error.h"
#include "runtime/glibc/glibc_arena.h"
#include "runtime/peek.h"
#include "runtime/regions.h"

/* Fills @a's areas. 1; 0: the pieces that were found are not all that the arena has
 * (@a then has none); -ENOMEM. */
int glibc_pieces_find(struct peek *p, const struct regions_input *in, struct glibc_arena *a,
                      struct error *err);
