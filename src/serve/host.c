/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { MAX_HOST = 256 };

/* "name:80", "name", "[::1]:80" -> the part without the port. */
static bool take_name(const char *host, char name[MAX_HOST])
{
	size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	const char *port;

	if (!n || n >= MAX_HOST || n > strlen(host))
		return false;
	port = host + n;
	if (*port && (*port != ':' || port[1 + strspn(port + 1, "0123456789")]))
		return false;
	memcpy(name, host, n);
	name[n] = '\0';
	return true;
}

/* Nobody can make a browser take an address for another one. */
static bool is_address(const char *name)
{
	struct in6_addr v6;
	struct in_addr v4;
	char inside[MAX_HOST];
	size_t n = strlen(name);

	if (inet_pton(AF_INET, name, &v4) == 1)
		return true;
	if (n < 4 || name[0] != '[' || name[n - 1] != ']')
		return false;
	memcpy(inside, name + 1, n - 2);
	inside[n - 2] = '\0';
	return inet_pton(AF_INET6, inside, &v6) == 1;
}

bool host_is_ours(const struct config *c, const char *host)
{
	char name[MAX_HOST];

	if (!host || !take_name(host, name))
		return false;
	if (is_address(name) || !strcasecmp(name, "localhost"))
		return true;
	for (size_t i = 0; i < c->hosts.n; i++) {
		if (!strcasecmp(name, c->hosts.items[i]))
			return true;
	}
	return false;
}

bool host_is_cross_site(const char *site, const char *origin, const char *host)
{
	const char *name = origin ? strstr(origin, "://") : NULL;

	if (site && (!strcasecmp(site, "cross-site") || !strcasecmp(site, "same-site")))
		return true;
	/* no host: a Unix socket, behind which no browser is */
	if (!origin || !host)
		return false;
	return !name || strcasecmp(name + 3, host) != 0;
}
