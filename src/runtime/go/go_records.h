/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Deferred calls whose records are in the heap (those on a stack are words of that
 * stack) and values of panics under way. Facts: runtime2.go (_defer, _panic), the
 * collector's scanstack() of mgcmark.go.
 */

#include "runtime/go/go_emit.h"
#include "runtime/go/go_goroutines.h"

int go_records_each(struct go_emit *e, const struct go_goroutine *all, size_t n);
