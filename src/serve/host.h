/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Is a request meant for us? A page of another site can make a browser send
 * requests to loopback addresses: by a name of its own that it points to us (DNS
 * rebinding: the Host header has that name), or by a link (Sec-Fetch-Site says
 * "cross-site", fetch metadata of W3C; Origin says where a POST comes from).
 */

#include <stdbool.h>

#include "serve/config.h"

/* @host: the header, NULL: there is none. An address, "localhost", or a name of `hosts`; with
 * any port. */
bool host_is_ours(const struct config *c, const char *host);
/* Does the request come from a page of another site? @site, @origin: Sec-Fetch-Site and
 * Origin, or NULL. */
bool host_is_cross_site(const char *site, const char *origin, const char *host);
