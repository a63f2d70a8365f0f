/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where our area lies in a target, and where the first stub goes before there is
 * one. The surprising rule: "something is mapped there" proves nothing. The
 * target may take a place between our looking and our mapping (measured: three
 * dead targets); an area is ours only with both exact lines of maps.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "target/maps.h"
#include "target/target.h"

/* Are both our mappings at @area, exactly? */
bool area_is_at(const struct maps *m, uint64_t area);
/* Is the first of them there? */
bool area_is_half(const struct maps *m, uint64_t area);
/* The address of an area that has our shape, or 0; its journal is yet to be read. */
uint64_t area_find(const struct maps *m);
/* A free place: the middle of the widest gap, because what the kernel chooses by
 * itself grows from its ends. @random spreads it. 0: there is none. */
uint64_t area_choose(const struct maps *m, uint64_t random);

/* Unused bytes at the end of the last page of some file's code, or behind its
 * headers, or else at the end of the vdso: zeros that are mapped executable. */
struct area_cave {
	uint64_t start, bytes;
};
/* -ENOSPC without one of at least @need bytes. */
int area_find_cave(const struct target *t, const struct maps *m, uint64_t need,
                   struct area_cave *ret, struct error *err);
