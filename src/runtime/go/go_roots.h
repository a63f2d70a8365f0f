/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where a walk of a Go heap begins: words that are roots, in order of root. */

#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_objects.h"
#include "runtime/object_graph.h"

/* Called for each root (@root filled but for its edges), then for each of its
 * words that point into the heap. */
struct go_roots_sink {
	/* @at: address of the word, if it is in data or bss; else 0 */
	int (*root)(void *arg, const struct object_root *root, uint64_t at, struct error *err);
	int (*pointer)(void *arg, uint64_t value, uint64_t at, const char *label,
	               struct error *err);
	void *arg;
};

int go_roots_each(struct go_objects *o, struct object_graph *texts, const struct go_roots_sink *to,
                  struct error *err);
