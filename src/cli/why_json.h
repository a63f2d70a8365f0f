/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What keeps an object alive, as JSON; docs/json.md has the keys. */

#include "base/error.h"
#include "base/json.h"
#include "runtime/object_graph.h"

/* The keys address, size_bytes, type, born_in[], shortest[], more_roots, widest of an object that
 * has been begun. */
int why_json(struct json *j, const struct object_graph *g, uint32_t node, struct error *err);
/* The keys objects, bytes, widest[], more_ways, unreached, shortest[], more_roots: of all objects
 * whose type matches @re. */
int why_json_type(struct json *j, const struct object_graph *g, const char *re, struct error *err);
