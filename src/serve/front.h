/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The socket that we listen on and the HTTP library on it, which was told its
 * limits and certificates when it was started: other ones are another one. The
 * surprising rule: who came before is served by the one that he came to, with its
 * answer as the last on that connection, so that nobody who waits for a capture
 * loses it.
 */

#include "serve/http.h"
#include "serve/service.h"

/* The first one: by systemd's socket, or s->config.listen. */
int front_open(struct service *s, struct error *err);
int front_start(struct service *s, struct error *err);

/* What another configuration needs, made beside what there is. ->http NULL: nothing. */
struct front {
	struct http *http;
	int listen_fd; /* -1: the socket stays */
	struct listen_address address;
	struct front_tls tls;
};
/* Certificates are read anew. A port or a group for which a capability was dropped at the start
 * is -EACCES or -EPERM. */
int front_prepare(struct service *s, const struct config *c, struct front *ret, struct error *err);
/* From now on it is *f; true: http_fd(s->http) is another one. */
bool front_use(struct service *s, struct front *f);
void front_drop(struct front *f); /* also of one that is in use, and of { .listen_fd = -1 } */

/* To the log: where we listen. */
void front_tell(const struct service *s);
void front_run(struct service *s);
bool front_has_waiters(const struct service *s);
void front_counts(const struct service *s, struct http_counts *ret);
void front_stop(struct service *s);
/* The socket, and its file. */
void front_close(struct service *s);
