/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What keeps an object alive, as lines: for refs --why and what. */

#include "base/error.h"
#include "base/json.h"
#include "runtime/object_graph.h"

/* Birth, the shortest chain from each root, the widest; each line behind @indent. */
int why_print(const struct object_graph *g, uint32_t node, const char *indent, struct error *err);
/* The keys address, size_bytes, type, born_in[], shortest[][], widest[] of an object that has
 * been begun. */
int why_json(struct json *j, const struct object_graph *g, uint32_t node, struct error *err);

/* As why_print() of what is at @address. -ENOENT: no live object. */
int why_address(const struct object_graph *g, uint64_t address, struct error *err);
/* Of all objects whose type matches @re: how many, the widest ways, the shortest. */
int why_type(const struct object_graph *g, const char *re, struct error *err);
