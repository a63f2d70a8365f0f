/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Shared memory of a PostgreSQL server as one of its processes has it mapped.
 * The surprising rule: figures that cannot be proven are 0, the ranges are
 * given all the same.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/postgres/pg_server.h"
#include "target/maps.h"

enum { PG_SHARED_MAX_LISTED = 512 };

struct pg_shared {
	const struct mapping *main;        /* NULL: this process has none */
	uint64_t total_bytes, given_bytes; /* by the segment's header */
	uint64_t n_buffers, buffers_bytes; /* shared_buffers */
	const struct mapping *interlock;   /* the page that keeps a second server out; or NULL */
	uint32_t dsm_control;              /* handle of the control segment; 0 */
	const struct mapping *dsm_list;    /* the control segment, its magic seen; or NULL */
	uint32_t n_listed;                 /* segments in use that it lists (as many as fit) */
	uint32_t listed[PG_SHARED_MAX_LISTED];
};

/* Looks at @s's target with @maps (which @ret points into). */
void pg_shared_find(const struct pg_server *s, const struct maps *maps, struct pg_shared *ret);

/* The handle of a dynamic shared memory segment (/dev/shm/PostgreSQL.N); false: none. */
bool pg_shared_dsm_handle(const struct mapping *m, uint32_t *ret);
bool pg_shared_is_listed(const struct pg_shared *s, uint32_t handle);
