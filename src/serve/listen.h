/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The socket that we listen on: a Unix socket (mode 0660) or TCP on a literal
 * address. The surprising rule: a name is never looked up ("localhost" is
 * 127.0.0.1), because a resolver's answer would decide who can reach us.
 */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"

struct listen_address {
	bool is_unix;
	struct sockaddr_storage to;
	socklen_t len;
};

/* "unix:/PATH", "HOST:PORT", "[V6]:PORT"; port 0 is any that is free. -EINVAL. */
int listen_parse(const char *text, struct listen_address *ret, struct error *err);
bool listen_is_loopback(const struct listen_address *a);
/* Of a connected socket's other end. A Unix socket is none. */
bool listen_is_loopback_peer(const struct sockaddr *peer);

/* Bind and listen; a Unix socket that nobody answers on any more is replaced, its folder made.
 * @name: of the address, for errors. -EADDRINUSE: somebody answers. *ret is non-blocking and
 * close-on-exec. */
int listen_open(const struct listen_address *a, const char *name, int *ret, struct error *err);
/* The first socket that systemd has handed over (sd_listen_fds(3): LISTEN_PID, LISTEN_FDS),
 * or -1: none. The variables are taken out of the environment. @is_unix is set. */
int listen_inherited(bool *is_unix);
/* Let group @group (a name or a number) use the Unix socket, too. */
int listen_set_group(const struct listen_address *a, const char *group, struct error *err);
/* Where @fd listens, for a person: "unix:/PATH", "127.0.0.1:8090". */
void listen_text(int fd, char *buf, size_t size);
/* Remove the file of a Unix socket that listen_open() made. */
void listen_remove(const struct listen_address *a);
