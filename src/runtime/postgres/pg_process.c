/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_process.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How a title goes on after the words. */
enum tail {
	NOTHING,
	ANYTHING, /* blank and more, or nothing */
};

/* Longest first where one begins with another. Titles of 10 to 18
 * (src/backend/postmaster, replication; init_ps_display). */
static const struct {
	const char *words, *kind;
	enum tail tail;
} titles[] = {
	{ "checkpointer process", "checkpointer", NOTHING }, /* 10 */
	{ "checkpointer", "checkpointer", NOTHING },
	{ "writer process", "background writer", NOTHING }, /* 10 */
	{ "background writer", "background writer", NOTHING },
	{ "wal writer process", "walwriter", NOTHING }, /* 10 */
	{ "walwriter", "walwriter", NOTHING },
	{ "wal sender process", "walsender", ANYTHING }, /* 10 */
	{ "walsender", "walsender", ANYTHING },
	{ "wal receiver process", "walreceiver", ANYTHING }, /* 10 */
	{ "walreceiver", "walreceiver", ANYTHING },
	{ "walsummarizer", "walsummarizer", NOTHING },
	{ "startup process", "startup", ANYTHING }, /* 10 */
	{ "startup", "startup", ANYTHING },
	{ "archiver process", "archiver", ANYTHING }, /* 10 */
	{ "archiver", "archiver", ANYTHING },
	{ "logger process", "logger", NOTHING }, /* 10 */
	{ "logger", "logger", NOTHING },
	{ "stats collector process", "stats collector", NOTHING }, /* 10 */
	{ "stats collector", "stats collector", NOTHING },
	{ "autovacuum launcher process", "autovacuum launcher", NOTHING }, /* 10 */
	{ "autovacuum launcher", "autovacuum launcher", NOTHING },
	{ "autovacuum worker process", "autovacuum worker", ANYTHING }, /* 10 */
	{ "autovacuum worker", "autovacuum worker", ANYTHING },
	{ "io worker", "io worker", ANYTHING },
	{ "slotsync worker", "slotsync worker", ANYTHING },
	{ "parallel worker for PID", "parallel worker", ANYTHING },
	{ "logical replication launcher", "logical replication launcher", NOTHING },
	{ "logical replication", "logical replication worker", ANYTHING },
	{ "bgworker: logical replication launcher", "logical replication launcher", NOTHING },
	{ "bgworker: logical replication", "logical replication worker", ANYTHING },
	{ "bgworker: parallel worker for PID", "parallel worker", ANYTHING },
	{ "bgworker:", "background worker", ANYTHING },
};

static size_t length_without_blanks(const char *s)
{
	size_t n = strlen(s);

	while (n && s[n - 1] == ' ')
		n--;
	return n;
}

static const char *known_title(const char *s)
{
	size_t len = length_without_blanks(s);

	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
		size_t n = strlen(titles[i].words);

		if (len < n || strncmp(s, titles[i].words, n) != 0)
			continue;
		if (len == n || (titles[i].tail == ANYTHING && s[n] == ' '))
			return titles[i].kind;
	}
	return NULL;
}

/* "user database host(port) activity", "user database [local] activity" */
static bool is_client(const char *s)
{
	const char *host = strstr(s, " [local]");

	if (host)
		return true;
	host = strchr(s, '(');
	return host && host > s && strchr(host, ')');
}

bool pg_process_kind(const char *title, char *buf, size_t size)
{
	static const char prefix[] = "postgres: ";
	const char *s = title, *kind, *cluster;

	if (strncmp(s, prefix, sizeof(prefix) - 1) != 0)
		return false;
	s += sizeof(prefix) - 1;
	kind = known_title(s);
	cluster = strstr(s, ": "); /* "postgres: CLUSTER_NAME: ..." */
	if (!kind && cluster)
		kind = known_title(cluster + 2);
	if (!kind)
		kind = is_client(s) ? "client backend" : "background worker";
	snprintf(buf, size, "%s", kind);
	return true;
}

pid_t pg_process_leader(const char *title)
{
	static const char words[] = "parallel worker for PID ";
	const char *at = strstr(title, words);
	long pid = at ? strtol(at + sizeof(words) - 1, NULL, 10) : 0;

	/* a client's database may be called so: the title as a whole has to fit */
	if (pid <= 0 || pid > INT_MAX || strncmp(title, "postgres: ", 10) != 0)
		return 0;
	return is_client(title) ? 0 : (pid_t)pid;
}
