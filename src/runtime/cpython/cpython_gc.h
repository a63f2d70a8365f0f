/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The objects that CPython's cyclic collector tracks: three generations, each a
 * closed ring, 24 bytes apart, and behind them a pointer to the first
 * (Include/internal/pycore_gc.h, pycore_mem.h; 3.8 to 3.13).
 */

#include "runtime/peek.h"
#include "runtime/regions.h"

struct cpython_gc {
	uint64_t at;      /* of the generations; 0: not found */
	uint64_t objects; /* len(gc.get_objects()) */
	bool whole;       /* all rings were followed to their ends */
};

/* In modules' data, then in [heap] (3.9 and 3.10). 1 found, 0 not. */
int cpython_gc_find(struct peek *p, const struct maps *m, const char *exe, struct cpython_gc *ret,
                    struct error *err);
