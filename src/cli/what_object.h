/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Objects of a heap whose references a runtime tells (Go, Lua): type, birth, holders.
 * The heap is read once for all addresses, as the process runs: what moves
 * meanwhile may be missed, and `memwho refs --why` reads a copy.
 */

#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"
#include "map/what.h"
#include "runtime/object_graph.h"

struct what_object {
	pid_t pid;
	bool has_lua;    /* of the process: any block of it may be an object */
	bool tried, has; /* the graph was asked for, is there */
	struct object_graph graph;
};
void what_object_close(struct what_object *o); /* usable with cleanup() */

/* Nothing for what is no such object. */
int what_object_print(struct what_object *o, const struct what *w, struct error *err);
/* The key "object": null for what is no live one. */
int what_object_json(struct what_object *o, struct json *j, const struct what *w,
                     struct error *err);
