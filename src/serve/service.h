/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the parts of a running service share. One thread uses it, but for what store.h says. */

#include <stdbool.h>
#include <stdint.h>

#include "serve/config.h"
#include "serve/jobs.h"
#include "serve/listen.h"
#include "serve/tally.h"
#include "serve/watched.h"

struct spool;
struct sizes;
struct alarms;
struct pushes;
struct store;
struct oom;

/* Texts in PEM; NULL: none. */
struct front_tls {
	char *cert, *key, *client_ca;
};

/* Since the service began. */
struct http_counts {
	uint64_t requests, refused; /* refused: 4xx but 404, and 5xx */
	uint64_t gone;              /* clients that left while they waited */
	uint64_t cut;               /* connections that we ended: too slow, too many */
	unsigned connections;       /* now */
};

enum { SERVICE_MAX_LEAVING = 4 };

struct service {
	struct config config; /* of the last good read */
	char *token;          /* NULL: none */
	struct front_tls tls;
	int listen_fd;
	struct listen_address address;
	bool is_inherited;
	struct watched *watched;
	struct jobs *jobs;
	struct http *http;
	struct http *leaving[SERVICE_MAX_LEAVING]; /* front.c: take no connections any more */
	size_t n_leaving;
	struct http_counts past; /* of those that have gone */
	struct spool *spool;     /* NULL: none */
	struct sizes *sizes;
	struct alarms *alarms;
	struct pushes *pushes;
	struct store *store;
	struct oom *oom; /* NULL: not known */
	struct tally tally;
	uint64_t begun_ns;
	uint64_t seconds; /* that it has run */
	bool stopping;
};
