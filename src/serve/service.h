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

struct service {
	struct config config;                     /* of the last good read */
	char *token;                              /* NULL: none */
	char *tls_cert, *tls_key, *tls_client_ca; /* texts; NULL: no TLS */
	int listen_fd;
	struct listen_address address;
	bool is_unix, is_inherited;
	struct watched *watched;
	struct jobs *jobs;
	struct http *http;
	struct spool *spool; /* NULL: none */
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
