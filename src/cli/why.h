/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What keeps an object alive, as lines: for refs --why, --type and what. why_json.h: as JSON. */

#include <stdio.h>

#include "base/error.h"
#include "refs/refs.h"
#include "runtime/object_graph.h"

enum { WHY_CHAINS = 10 }; /* as many are shown */

/* Birth, the shortest chain from each root, the widest; each line behind @indent. */
int why_print(const struct object_graph *g, uint32_t node, const char *indent, FILE *to,
              struct error *err);

/* The object at @address. -ENOENT: no live one. */
int why_find(const struct object_graph *g, uint64_t address, uint32_t *ret, struct error *err);
/* Of all objects whose type matches a regexp. */
struct why_all {
	size_t n;
	uint64_t bytes;
	struct refs_ways widest;
	struct refs_chains nearest; /* the shortest from each root */
};
void why_all_clear(struct why_all *a); /* { 0 } is empty */
/* @ret is empty, and to be cleared in any case. -ENOENT: no such object. */
int why_all(const struct object_graph *g, const char *re, struct why_all *ret, struct error *err);
/* As lines: how many, the widest ways, the shortest. */
int why_type(const struct object_graph *g, const char *re, FILE *to, struct error *err);
