/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Rows for objects that others hold (OBJECT_TIER_HELD): a coroutine is no root, but who looks
 * for memory looks for it by name. Its row says what the object retains; those bytes are part of
 * its holder's, too.
 */

#include "base/error.h"
#include "refs/dominators.h"
#include "runtime/object_graph.h"

/* Fills d->kept of such roots; before dominators_drop_order(). */
int refs_held(const struct object_graph *g, struct dominators *d, struct error *err);
