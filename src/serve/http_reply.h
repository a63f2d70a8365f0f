/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What is sent back, with its headers. */

#include <microhttpd.h>
#include <stdint.h>

#include "base/error.h"
#include "serve/http_text.h"
#include "serve/jobs.h"
#include "serve/route.h"

struct http_reply {
	unsigned status;
	struct MHD_Response *response; /* NULL: there was no memory for one */
	const char *type;
	bool is_error;
	bool has_no_gc; /* one was asked for */
	bool is_last;   /* on its connection */
	struct error err;
	bool has_running;
	struct jobs_running running;
};

/* @t's text goes over to @r. */
void http_reply_text(struct http_reply *r, unsigned status, struct http_text *t, const char *type);
/* @bytes of @fd from its beginning, which is duplicated. @format: a renderer's name. */
void http_reply_file(struct http_reply *r, int fd, uint64_t bytes, const char *format);
/* JSON, or below debug/pprof/ text as Go's; see http_reply_send(). */
void http_reply_error(struct http_reply *r, unsigned status, const struct error *err,
                      const struct jobs_running *running);
void http_reply_clear(struct http_reply *r); /* { 0 } is fine */

enum MHD_Result http_reply_send(struct http_reply *r, struct MHD_Connection *c,
                                const struct route *route, bool joined);
