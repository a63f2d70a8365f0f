/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/look_cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "serve/look.h"
#include "target/memory_cgroup.h"

enum { TEXT_BYTES = 8192 };

static const int64_t MOVED_BYTES = 1 << 20;         /* from one look to the next */
static const uint64_t EVERY_NS = 900000000;         /* ten looks a second are not exact */
static const uint64_t LIMIT_EVERY_NS = 10000000000; /* also of memory.stat, while usage stays */

enum { USAGE, STAT, EVENTS, PRESSURE, N_FILES };

/* One for each cgroup, however many look. One thread uses them. */
struct look_cgroup {
	struct look_cgroup *next;
	unsigned users;
	int files[N_FILES]; /* -1: not there */
	bool needed[N_FILES];
	bool has_cgroup;
	struct memory_cgroup cgroup;
	uint64_t limit_ns, stat_ns; /* when they were read; 0: never */
	uint64_t inactive;          /* of memory.stat */
	int64_t stat_usage;         /* usage at that time */
	struct look_cgroup_figures last;
};

static struct look_cgroup *all;

static const char *const names[2][N_FILES] = {
	{ "memory.usage_in_bytes", "memory.stat", "memory.oom_control", NULL },
	{ "memory.current", "memory.stat", "memory.events", "memory.pressure" },
};

/* Bytes read, 0 if there are none. */
static size_t read_text(int fd, char *to, size_t size)
{
	ssize_t n = fd < 0 ? 0 : pread(fd, to, size - 1, 0);

	to[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static void open_files(struct look_cgroup *l)
{
	for (int i = 0; i < N_FILES; i++) {
		const char *name = names[l->cgroup.is_v2][i];
		char path[sizeof(l->cgroup.dir) + 64];

		if (!name || !l->has_cgroup)
			continue;
		snprintf(path, sizeof(path), "%s/%s", l->cgroup.dir, name);
		l->files[i] = open(path, O_RDONLY | O_CLOEXEC);
	}
	/* v1 has none of its own; the machine's is better than nothing */
	if (l->files[PRESSURE] < 0)
		l->files[PRESSURE] = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
}

struct look_cgroup *look_cgroup_leave(struct look_cgroup *l)
{
	struct look_cgroup **at = &all;

	if (!l || --l->users)
		return NULL;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	for (int i = 0; i < N_FILES; i++)
		if (l->files[i] >= 0)
			close(l->files[i]);
	free(l);
	return NULL;
}

static struct look_cgroup *find(const struct memory_cgroup *c, bool has_cgroup)
{
	for (struct look_cgroup *l = all; l; l = l->next) {
		if (l->has_cgroup == has_cgroup && (!has_cgroup || !strcmp(l->cgroup.dir, c->dir)))
			return l;
	}
	return NULL;
}

int look_cgroup_join(pid_t pid, struct look_cgroup **ret, struct error *err)
{
	cleanup_free struct look_cgroup *new = calloc(1, sizeof(*new));
	struct look_cgroup *known;
	struct error ignored;

	if (!new)
		return error_oom(err);
	new->has_cgroup = memory_cgroup_of(pid, &new->cgroup, &ignored) == 0;
	known = find(&new->cgroup, new->has_cgroup);
	if (!known) {
		known = take_ptr(new);
		for (int i = 0; i < N_FILES; i++)
			known->files[i] = -1;
		known->last = (struct look_cgroup_figures){ 0, -1, -1, -1, -1 };
		open_files(known);
		known->next = all;
		all = known;
	}
	known->users++;
	*ret = known;
	return 0;
}

/* v2: the lowest memory.max of it and those above. */
static void read_limit(struct look_cgroup *l)
{
	struct memory_cgroup c = l->cgroup;

	l->last.limit_bytes = -1;
	do {
		char path[sizeof(c.dir) + 64], text[64];
		cleanup_close int fd = -1;
		int64_t limit;

		snprintf(path, sizeof(path), "%s/memory.max", c.dir);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (!read_text(fd, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
			continue;
		limit = (int64_t)strtoull(text, NULL, 10);
		if (l->last.limit_bytes < 0 || limit < l->last.limit_bytes)
			l->last.limit_bytes = limit;
	} while (memory_cgroup_up(&c));
}

static bool is_due(uint64_t then_ns, uint64_t now_ns, uint64_t every_ns)
{
	return !then_ns || now_ns - then_ns >= every_ns;
}

/* Dear, because it is long: not while usage stays what it was. */
static void read_stat(struct look_cgroup *l, int64_t usage, uint64_t now_ns)
{
	char text[TEXT_BYTES];

	if (!is_due(l->stat_ns, now_ns, LIMIT_EVERY_NS) &&
	    llabs(usage - l->stat_usage) < MOVED_BYTES)
		return;
	l->stat_ns = now_ns;
	l->stat_usage = usage;
	if (read_text(l->files[STAT], text, sizeof(text)))
		look_parse_stat(text, l->cgroup.is_v2, &l->inactive, &l->last.limit_bytes);
	if (l->cgroup.is_v2 && is_due(l->limit_ns, now_ns, LIMIT_EVERY_NS)) {
		l->limit_ns = now_ns;
		read_limit(l);
	}
}

static void read_usage(struct look_cgroup *l, uint64_t now_ns)
{
	char text[64];
	int64_t usage, inactive;

	if (!read_text(l->files[USAGE], text, sizeof(text))) {
		l->last.usage_bytes = -1;
		return;
	}
	usage = (int64_t)strtoull(text, NULL, 10);
	read_stat(l, usage, now_ns);
	inactive = (int64_t)l->inactive;
	l->last.usage_bytes = usage > inactive ? usage - inactive : 0;
}

void look_cgroup_need(struct look_cgroup *l, const struct trigger_rule *r)
{
	if ((r->kind == TRIGGER_OOM && !l->needed[EVENTS]) ||
	    (r->kind == TRIGGER_PRESSURE && !l->needed[PRESSURE]))
		l->last.read_ns = 0; /* with the next look */
	l->needed[EVENTS] |= r->kind == TRIGGER_OOM;
	l->needed[PRESSURE] |= r->kind == TRIGGER_PRESSURE;
}

const struct look_cgroup_figures *look_cgroup_read(struct look_cgroup *l, uint64_t now_ns)
{
	char text[1024];

	if (!is_due(l->last.read_ns, now_ns, EVERY_NS))
		return &l->last;
	l->last.read_ns = now_ns;
	read_usage(l, now_ns);
	if (l->needed[EVENTS] && read_text(l->files[EVENTS], text, sizeof(text)))
		l->last.oom_kills = look_parse_number(text, "oom_kill");
	if (l->needed[PRESSURE])
		l->last.pressure = read_text(l->files[PRESSURE], text, sizeof(text))
		                           ? look_parse_pressure(text)
		                           : -1;
	return &l->last;
}
