/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The runtime's own records of goroutines, threads and processors (g, m, p), as one
 * root. Everything leads to them (a blocked call to its goroutine, that to the
 * thread, that to all others), so other references to them are not told: else a
 * goroutine's stack would hold the whole runtime.
 */

#include "runtime/go/go_goroutines.h"
#include "runtime/go/go_roots.h"
#include "runtime/go/go_symbols.h"

/* @all: all goroutines, dead ones too. To be told before all other roots. */
int go_own_each(struct go_objects *o, struct object_graph *texts, const struct go_roots_sink *to,
                const struct go_symbols *symbols, const struct go_goroutine *all, size_t n,
                struct error *err);

/* runtime.allp, found without symbols, too: address of the list of pointers; 0. */
uint64_t go_own_ps(struct go_objects *o, const struct go_symbols *symbols, uint64_t *n);
