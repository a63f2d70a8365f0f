/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Births of the objects that Go's heap profile has sampled: each has a special of
 * kind profile in its span, which leads to the bucket with its stack (mheap.go,
 * mprof.go). The surprising rule: specials go with the object when it is swept,
 * so objects that are garbage already have theirs, too.
 */

#include "base/error.h"
#include "runtime/go/go_objects.h"
#include "runtime/object_graph.h"

/* Adds births to @g. @node: of each slot of @o, UINT32_MAX for what was not met. A program
 * without a profile has none, which is no error. */
int go_births_add(struct go_objects *o, const uint32_t *node, struct object_graph *g,
                  struct error *err);
