/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Goroutines as roots: one root for all that run one function and were created by
 * the same other one. Their stacks are read as the collector reads those that it
 * could not stop at a safe point: each word that points into the heap counts;
 * frames (go_frames.h) say in whose function it is.
 *
 * Goroutines of the system are among them, for they are in allgs, of which markroot()
 * takes its stack roots (mgcmark.go; 1.17: allgs itself, 1.18+: allGsSnapshot()). The
 * stacks of g0 and gsignal are not, and are not read: "the garbage collector does not
 * scan system stacks" (runtime/HACKING.md, 1.17 to 1.26); what code there works on is
 * held by the goroutine that it works for.
 */

#include "runtime/go/go_goroutines.h"
#include "runtime/go/go_roots.h"

/* @all: of go_goroutines_read(). */
int go_stacks_each(struct go_objects *o, struct go_claims *claims, struct go_guess *guess,
                   const struct go_goroutine *all, size_t n, const struct go_roots_sink *to,
                   struct error *err);
