/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One POST by libcurl: TLS, basic and bearer, no redirects, ended from outside. Part
 * of push.c. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct push_http_request {
	const char *url;
	const char *tenant, *user, *password, *token, *ca_file; /* NULL: none */
	const char *type;                                       /* of the body */
	const void *body;
	size_t len;
	atomic_bool *stop; /* ends it when it becomes true */
};

struct push_http_answer {
	long status;
	long retry_after_s; /* 0: not said */
	char text[120];     /* the beginning of what it says */
	char raw[120];      /* as it came */
	size_t raw_len;
};

/* -EIO: no answer, with libcurl's reason; -ECANCELED: stopped. */
int push_http_post(const struct push_http_request *r, struct push_http_answer *ret,
                   struct error *err);
/* Once, before threads. */
int push_http_init(struct error *err);
