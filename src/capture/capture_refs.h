/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * From a process or a core to the graph of its objects: takes a copy (or stops
 * the process, or reads it as it runs), asks the runtimes, lets everything go.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "capture/capture_refs_memory.h"
#include "runtime/object_graph.h"
#include "runtime/runtime.h"

enum capture_refs_how {
	CAPTURE_REFS_COPY,    /* a copy-on-write clone inside the target (inject/snapshot.h) */
	CAPTURE_REFS_STOPPED, /* it stands still until all is read */
	CAPTURE_REFS_RUNNING, /* as it runs: what moves meanwhile is missed or counted twice */
};

struct capture_refs_options {
	enum capture_refs_how how;
	const char *exe, *sysroot; /* of a core */
	const char *runtime;       /* only this one's objects: "go", "lua"; NULL: the first there */
	struct object_graph_options graph;
};

struct capture_refs_facts {
	uint64_t pause_ns; /* how long the process stood still; 0: a core, or not at all */
	uint64_t missing;  /* bytes that a truncated core lacks */
	uint64_t copied;   /* bytes read */
	bool is_core;
	char name[64];
	char other[32]; /* "Lua 5.4", which has objects in there, too; "" */
	int pid;
	struct capture_refs_memory memory;
};
void capture_refs_facts_clear(struct capture_refs_facts *f); /* { 0 } is empty */

int capture_refs_process(pid_t pid, const struct capture_refs_options *o, struct object_graph *ret,
                         struct capture_refs_facts *facts, struct error *err);
int capture_refs_core(const char *path, const struct capture_refs_options *o,
                      struct object_graph *ret, struct capture_refs_facts *facts,
                      struct error *err);
