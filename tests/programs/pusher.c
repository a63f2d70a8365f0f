/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The push queue without a service, for doubles of real servers.
 *
 *	pusher KIND URL QUEUE [OPTION=VALUE ...]
 *
 * Standard input: "add ID FILE" (answers "ok MICROSECONDS" or "error ..."), "counts" (one line of
 * figures). Its end is the end.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "serve/push.h"

static char profile[1 << 20];
static const char *labels[8];

static int take_option(struct push_options *o, char *text)
{
	char *value = strchr(text, '=');

	if (!value)
		return -1;
	*value++ = '\0';
	if (!strcmp(text, "tenant"))
		o->tenant = value;
	else if (!strcmp(text, "user"))
		o->user = value;
	else if (!strcmp(text, "password_file"))
		o->password_file = value;
	else if (!strcmp(text, "token_file"))
		o->token_file = value;
	else if (!strcmp(text, "ca_file"))
		o->ca_file = value;
	else if (!strcmp(text, "max_bytes"))
		o->max_bytes = strtoull(value, NULL, 10);
	else if (!strcmp(text, "label") && o->n_labels < ARRAY_SIZE(labels))
		labels[o->n_labels++] = value;
	else
		return -1;
	return 0;
}

static void add(struct push *p, const char *id, const char *path)
{
	struct push_queue_item item = { .target = "api",
		                        .trigger = "growth",
		                        .unix_ns = 1795690800 };
	cleanup_fclose FILE *f = fopen(path, "r");
	uint64_t begin = clock_now_ns();
	struct error err;

	if (!f) {
		puts("error: no such file");
		return;
	}
	snprintf(item.id, sizeof(item.id), "%s", id);
	item.data = profile;
	item.len = fread(profile, 1, sizeof(profile), f);
	if (push_add(p, &item, &err) < 0)
		printf("error: %s\n", err.message);
	else
		printf("ok %llu\n", (unsigned long long)(clock_now_ns() - begin) / 1000);
}

static void say_counts(struct push *p)
{
	struct push_counts c;

	push_counts(p, &c);
	printf("%llu %llu %llu %llu %llu %s\n", (unsigned long long)c.queued,
	       (unsigned long long)c.sent, (unsigned long long)c.refused,
	       (unsigned long long)c.overflowed, (unsigned long long)c.retries, c.last_error);
}

int main(int argc, char **argv)
{
	struct push_options o = { .name = "test", .first_retry_ms = 50, .labels = labels };
	cleanup(push_closep) struct push *p = NULL;
	char line[1024], id[256], path[512];
	struct error err;

	if (argc < 4)
		return 2;
	o.kind = argv[1];
	o.url = argv[2];
	o.queue = argv[3];
	for (int i = 4; i < argc; i++)
		if (take_option(&o, argv[i]) < 0)
			return 2;
	if (push_open(&o, &p, &err) < 0) {
		printf("error: %s\n", err.message);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "add %255s %511s", id, path) == 2)
			add(p, id, path);
		else
			say_counts(p);
		fflush(stdout);
	}
	return 0;
}
