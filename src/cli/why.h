/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What keeps an object alive, as lines: for refs --why, --type and what. why_json.h: as JSON. */

#include <stdio.h>

#include "base/error.h"
#include "runtime/object_graph.h"

enum { WHY_CHAINS = 10 }; /* as many are shown */

/* Birth, the shortest chain from each root, the widest; each line behind @indent. */
int why_print(const struct object_graph *g, uint32_t node, const char *indent, FILE *to,
              struct error *err);

/* The object at @address. -ENOENT: no live one. */
int why_find(const struct object_graph *g, uint64_t address, uint32_t *ret, struct error *err);
/* Of all objects whose type matches @re: how many, the widest ways, the shortest. */
int why_type(const struct object_graph *g, const char *re, FILE *to, struct error *err);
