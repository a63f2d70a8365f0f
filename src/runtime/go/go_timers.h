/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Timers that will fire: each P of the runtime has a heap of them. What a timer
 * holds is its function and that function's argument: time.AfterFunc's closure, the
 * channel of a Ticker. Facts: time.go, runtime2.go (p).
 */

#include "runtime/go/go_emit.h"
#include "runtime/go/go_symbols.h"

int go_timers_each(struct go_emit *e, const struct go_symbols *symbols);
