/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a hit costs on this machine, measured, not assumed: a child of ours
 * calls two functions of ours with the engine's real programs attached to
 * them. Takes about a tenth of a second.
 */

#include "alloc/engine_bpf.h"
#include "base/error.h"
#include "symbol/symbol.h"
#include "unwind/modules.h"

struct calibrate_costs {   /* ns of the target's CPU */
	double count;      /* a hit of the counting probe */
	double entry;      /* a hit of an entry probe: free, reset */
	double allocation; /* entry and return with a stack of no frames */
	double frame;      /* each frame of the stack */
};

/* Uses the engine's last slot, and leaves its counters dirty. */
int calibrate_run(struct engine_bpf *e, struct modules *m, struct symbol_pool *pool,
                  struct calibrate_costs *ret, struct error *err);
