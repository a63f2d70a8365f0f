/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One look at one process of a PostgreSQL server: its binary's method tables,
 * and its contexts as they are now. Nothing is written. A walk that a running
 * server tore is repeated; torn twice, the process is stopped for the time of
 * a copy (target/freeze.h), if that is allowed, else the look is repeated on.
 */

#include "base/error.h"
#include "runtime/postgres/pg_check.h"
#include "runtime/postgres/pg_tree.h"
#include "runtime/runtime.h"

enum pg_stop {
	PG_STOP_WHEN_TORN, /* twice */
	PG_STOP_NEVER,     /* also from then on when stopping is refused */
	PG_STOP_ALWAYS,
};

struct pg_server {
	const struct target *target;
	struct symbol_module *module; /* the server's program */
	struct elf_file *elf;
	uint64_t bias;
	struct pg_methods methods;
	struct pg_layout layout; /* valid after pg_server_look() */
	struct pg_memory memory;
	enum pg_stop stop; /* the caller may set it after pg_server_open() */
	unsigned n_looks, n_stops;
	uint64_t stopped_ns, longest_stop_ns;
};
void pg_server_clear(struct pg_server *s);

/* The module that is a PostgreSQL server, and its bias; NULL: none. */
struct symbol_module *pg_server_module(const struct runtime_view *v, uint64_t *bias);

/* -ENOTSUP: not a server, or no method tables in it. */
int pg_server_open(const struct runtime_view *v, struct pg_server *ret, struct error *err);

/* Read all contexts; may be called again. @check: NULL, or decode up to @max_chunks chunks (0: all)
 * as well. -EAGAIN when every look was torn, -ENOTSUP when what is there does
 * not fit any known layout; both say what was found. */
int pg_server_look(struct pg_server *s, struct pg_tree *tree, struct pg_check *check,
                   uint64_t max_chunks, struct error *err);
