/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Goroutines as roots: one root for all that run one function and were created by
 * the same other one. Their stacks are read as the collector reads those that it
 * could not stop at a safe point: each word that points into the heap counts;
 * frames (go_frames.h) say in whose function it is.
 */

#include "runtime/go/go_goroutines.h"
#include "runtime/go/go_roots.h"

/* @all: of go_goroutines_read(). */
int go_stacks_each(struct go_objects *o, struct go_claims *claims, struct go_guess *guess,
                   const struct go_goroutine *all, size_t n, const struct go_roots_sink *to,
                   struct error *err);
