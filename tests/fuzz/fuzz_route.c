/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A request: "METHOD PATH?KEY=VALUE&... HOST". */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "serve/host.h"
#include "serve/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t split_arguments(char *text, struct route_argument *to, size_t max)
{
	size_t n = 0;

	while (text && *text && n < max) {
		char *next = strchr(text, '&'), *value;

		if (next)
			*next++ = '\0';
		value = strchr(text, '=');
		if (value)
			*value++ = '\0';
		to[n++] = (struct route_argument){ text, value };
		text = next;
	}
	return n;
}

static void check(unsigned status, const struct route *r, const struct error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";

	if (status != 200) {
		if ((status != 400 && status != 404 && status != 405) || !err->message[0])
			abort();
		return;
	}
	/* names become parts of paths and of pages */
	if (r->target[strspn(r->target, allowed)] || r->target[0] == '.' ||
	    r->id[strspn(r->id, allowed)] || r->id[0] == '.' ||
	    r->id_before[strspn(r->id_before, allowed)])
		abort();
	if (r->seconds > 60 || r->kind >= WORKER_N_KINDS)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct route_argument arguments[ROUTE_MAX_ARGUMENTS + 4];
	char *text = malloc(size + 1), *path, *query = NULL, *host = NULL;
	const struct config c = { 0 };
	struct route r = { 0 };
	struct error err = { 0 };
	size_t n;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	path = strchr(text, ' ');
	if (path) {
		*path++ = '\0';
		host = strchr(path, ' ');
		if (host)
			*host++ = '\0';
		query = strchr(path, '?');
		if (query)
			*query++ = '\0';
		n = split_arguments(query, arguments, ROUTE_MAX_ARGUMENTS + 4);
		check(route_parse(text, path, arguments, n, 60, &r, &err), &r, &err);
		host_is_ours(&c, host);
		host_is_cross_site(host, path, host);
	}
	free(text);
	return 0;
}
