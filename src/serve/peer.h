/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Who is at the other end of a connection, and what may they see? On a Unix
 * socket the kernel says (SO_PEERCRED); on loopback TCP it says so too, when
 * asked about the other end's socket (sock_diag(7)). Root and who has the token,
 * or a certificate, see all; others see processes that are wholly their own.
 */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/error.h"

struct peer {
	bool sees_all;
	bool is_known; /* uid is right */
	uid_t uid;
};

/* Of the connected socket @fd. One that cannot be told is not known, and sees nothing. */
void peer_identify(int fd, struct peer *ret);

/* May @p look at process @pid? Its ids (real, effective, saved, file system) must all be
 * @p's, and it must be one that is not protected (a set-user-id program, one that gave up
 * rights): such a /proc/PID belongs to root. proc(5), "dumpable". */
bool peer_may_see(const struct peer *p, pid_t pid);

/* Is @given, a header "Bearer TOKEN", the token? In constant time. NULL: not given. */
bool peer_has_token(const char *given, const char *token);
/* First line of a file that only its owner (root or us) may read: -EPERM otherwise. *ret is
 * the caller's. */
int peer_read_token(const char *path, char **ret, struct error *err);
