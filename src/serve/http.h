/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * HTTP by libmicrohttpd, from one thread: its events are polled by the service's
 * loop, so that no lock is needed between a capture that ends and a client that
 * waits for it. The surprising rules: the library does not notice that a client
 * has gone while it is suspended (0.9.75), so http_run() looks itself; and all that
 * are suspended must be resumed before it may be stopped.
 */

#include <stdint.h>

#include "base/error.h"
#include "serve/service.h"

struct http;

struct http_options {
	int listen_fd; /* stays the caller's */
	bool is_unix;
	const struct front_tls *tls;
	const struct config *config; /* for its limits of connections */
};

int http_start(struct service *s, const struct http_options *o, struct http **ret,
               struct error *err);
/* After jobs_stop() has answered all waiters. */
struct http *http_stop(struct http *h);

/* A descriptor that is readable when http_run() has something to do; it is to be called every
 * 50 ms while http_has_waiters(), and every second. */
int http_fd(const struct http *h);
void http_run(struct http *h);
bool http_has_waiters(const struct http *h);
/* Milliseconds to the next time out of a connection; -1: none. */
int http_timeout_ms(const struct http *h);
/* No new connections from now on. */
void http_close_listener(struct http *h);
/* Each connection ends with its next answer; @distrust: certificates of clients, too, which others
 * vouch for now. */
void http_leave(struct http *h, bool distrust);
void http_counts(const struct http *h, struct http_counts *ret);
