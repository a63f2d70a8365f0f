/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/memory_cgroup.h"

enum {
	QUIET_AFTER = 20, /* looks at which it has hardly moved: one more is left out */
	MOST_LEFT_OUT = 10,
	TEXT_BYTES = 8192,
};

static const int64_t MOVED_BYTES = 1 << 20; /* from one look to the next */

static const uint64_t CGROUP_EVERY_NS = 900000000;  /* ten looks a second are not exact */
static const uint64_t LIMIT_EVERY_NS = 10000000000; /* also of memory.stat, while usage stays */
/* v1 says LONG_MAX in pages for "none"; nobody has a limit of an exabyte */
static const int64_t NO_LIMIT = 1ll << 60;

enum { USAGE, STAT, EVENTS, PRESSURE, N_FILES };

struct look {
	int statm;
	int files[N_FILES]; /* of the cgroup; -1: not there */
	bool has_cgroup;
	struct memory_cgroup cgroup;
	int64_t page_bytes;
	uint64_t cgroup_ns, limit_ns, stat_ns; /* when they were read; 0: never */
	uint64_t inactive;                     /* of memory.stat */
	int64_t stat_usage;                    /* usage at that time */
	unsigned unmoved, skipped;
	bool needed[N_FILES];
	struct trigger_sample last;
};

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

int64_t look_parse_number(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, len) && line[len] == ' ' && line[len + 1] >= '0' &&
		    line[len + 1] <= '9') {
			unsigned long long v = strtoull(line + len + 1, NULL, 10);

			return v > INT64_MAX ? INT64_MAX : (int64_t)v;
		}
	}
	return -1;
}

void look_parse_stat(const char *text, bool is_v2, uint64_t *inactive_file, int64_t *limit)
{
	int64_t file = look_parse_number(text, is_v2 ? "inactive_file" : "total_inactive_file");
	int64_t max = look_parse_number(text, "hierarchical_memory_limit"); /* v1 only */

	*inactive_file = file < 0 ? 0 : (uint64_t)file;
	if (!is_v2)
		*limit = max >= NO_LIMIT ? -1 : max;
}

double look_parse_pressure(const char *text)
{
	const char *some = strstr(text, "some avg10=");
	char *end;
	double v;

	if (!some)
		return -1;
	some += strlen("some avg10=");
	v = strtod(some, &end);
	return end == some || !(v >= 0 && v <= 100) ? -1 : v / 100;
}

static void open_files(struct look *l)
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

struct look *look_close(struct look *l)
{
	if (!l)
		return NULL;
	if (l->statm >= 0)
		close(l->statm);
	for (int i = 0; i < N_FILES; i++)
		if (l->files[i] >= 0)
			close(l->files[i]);
	free(l);
	return NULL;
}

void look_closep(struct look **l)
{
	*l = look_close(*l);
}

int look_open(pid_t pid, struct look **ret, struct error *err)
{
	cleanup(look_closep) struct look *l = calloc(1, sizeof(*l));
	struct error ignored;
	char path[64];

	if (!l)
		return error_oom(err);
	for (int i = 0; i < N_FILES; i++) {
		l->files[i] = -1;
		l->needed[i] = true;
	}
	l->last = trigger_sample_unknown();
	l->page_bytes = sysconf(_SC_PAGESIZE);
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	l->statm = open(path, O_RDONLY | O_CLOEXEC);
	if (l->statm < 0)
		return error_set(err, errno == ENOENT ? ESRCH : errno,
		                 "process %d: no such process", pid);
	l->has_cgroup = memory_cgroup_of(pid, &l->cgroup, &ignored) == 0;
	open_files(l);
	*ret = take_ptr(l);
	return 0;
}

/* "size resident shared ..." in pages. A zombie has none of all. */
static int read_resident(struct look *l)
{
	unsigned long long size, resident, shared;
	char text[128], *end;
	int64_t anon;

	if (!read_text(l->statm, text, sizeof(text)))
		return -ESRCH;
	size = strtoull(text, &end, 10);
	resident = strtoull(end, &end, 10);
	shared = strtoull(end, &end, 10);
	if (!size)
		return -ESRCH;
	anon = resident > shared ? (int64_t)(resident - shared) * l->page_bytes : 0;
	l->unmoved = llabs(anon - l->last.bytes[TRIGGER_ANON]) < MOVED_BYTES ? l->unmoved + 1 : 0;
	l->last.bytes[TRIGGER_ANON] = anon;
	l->skipped = 0;
	return 0;
}

/* v2: the lowest memory.max of it and those above. */
static void read_limit(struct look *l)
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
static void read_stat(struct look *l, int64_t usage, uint64_t now_ns)
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

static void read_usage(struct look *l, uint64_t now_ns)
{
	char text[64];
	int64_t usage, inactive;

	if (!read_text(l->files[USAGE], text, sizeof(text))) {
		l->last.bytes[TRIGGER_CGROUP] = -1;
		return;
	}
	usage = (int64_t)strtoull(text, NULL, 10);
	read_stat(l, usage, now_ns);
	inactive = (int64_t)l->inactive;
	l->last.bytes[TRIGGER_CGROUP] = usage > inactive ? usage - inactive : 0;
}

static void read_cgroup(struct look *l, uint64_t now_ns)
{
	char text[1024];

	l->cgroup_ns = now_ns;
	read_usage(l, now_ns);
	if (l->needed[EVENTS] && read_text(l->files[EVENTS], text, sizeof(text)))
		l->last.oom_kills = look_parse_number(text, "oom_kill");
	if (l->needed[PRESSURE])
		l->last.pressure = read_text(l->files[PRESSURE], text, sizeof(text))
		                           ? look_parse_pressure(text)
		                           : -1;
}

void look_need(struct look *l, const struct trigger_rule *r)
{
	l->needed[EVENTS] = r->kind == TRIGGER_OOM;
	l->needed[PRESSURE] = r->kind == TRIGGER_PRESSURE;
}

int look_sample(struct look *l, uint64_t now_ns, struct trigger_sample *ret)
{
	unsigned left_out = l->unmoved / QUIET_AFTER;
	int news = 0;

	if (left_out > MOST_LEFT_OUT - 1)
		left_out = MOST_LEFT_OUT - 1;
	if (l->skipped++ >= left_out) {
		if (read_resident(l) < 0)
			return -ESRCH;
		news = 1;
	}
	if (is_due(l->cgroup_ns, now_ns, CGROUP_EVERY_NS)) {
		read_cgroup(l, now_ns);
		news = 1;
	}
	*ret = l->last;
	return news;
}
