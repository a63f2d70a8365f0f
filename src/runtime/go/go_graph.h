/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The graph of a Go heap: from globals, goroutines' stacks and finalizers to
 * every object that the collector would reach. Stacks are read as the collector
 * reads those of goroutines that it could not stop at a safe point: any word that
 * points into the heap counts.
 */

#include "base/error.h"
#include "runtime/object_graph.h"
#include "runtime/runtime.h"
#include "target/image.h"

/* As runtime_ops.object_graph. */
int go_graph_make(struct image *i, const struct object_graph_options *o, struct object_graph *ret,
                  struct error *err);
