/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Method, path and arguments of a request -> what is asked for. The paths are one
 * table in route.c. All of it is hostile. The surprising rule: below debug/pprof/
 * an argument that we do not know is ignored, as Go's net/http/pprof does (clients
 * send their own); anywhere else it is a mistake that is told.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "serve/worker.h"

enum route_to {
	ROUTE_PAGE,
	ROUTE_HEALTHZ,
	ROUTE_METRICS,
	ROUTE_SD,
	ROUTE_TARGETS,
	ROUTE_TARGET,
	ROUTE_CMDLINE,
	ROUTE_SYMBOL,
	ROUTE_INDEX, /* debug/pprof/: what there is */
	ROUTE_CAPTURE,
	ROUTE_CAPTURES,    /* of the spool: list, */
	ROUTE_STORED,      /* fetch one, */
	ROUTE_STORED_DIFF, /* compare two */
};

enum {
	ROUTE_NAME_BYTES = 64,
	ROUTE_ID_BYTES = 96,
	ROUTE_MAX_ARGUMENTS = 16,
	ROUTE_MAX_PATH = 512,
};

struct route_argument {
	const char *key, *value; /* value NULL: "?x" without "=" */
};

struct route {
	enum route_to to;
	char target[ROUTE_NAME_BYTES];                      /* a name or a pid; "": none */
	char id[ROUTE_ID_BYTES], id_before[ROUTE_ID_BYTES]; /* of stored captures */
	bool is_pprof;                                      /* errors are text, with X-Go-Pprof */
	bool is_post;
	const char *file_name; /* Content-Disposition; NULL: none */
	enum worker_kind kind; /* of ROUTE_CAPTURE */
	unsigned seconds;      /* 0: not given */
	bool wants_gc;         /* the profile after a collection of garbage */
	const char *format;    /* a renderer's name */
};

/* Returns an HTTP status: 200, or 400, 404, 405 with *err filled; then *ret says no more than
 * is_pprof. @max_seconds: more is 400. */
unsigned route_parse(const char *method, const char *path, const struct route_argument *arguments,
                     size_t n_arguments, unsigned max_seconds, struct route *ret,
                     struct error *err);
