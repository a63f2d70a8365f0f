/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/memory_cgroup.h"

enum { QUIET_AFTER = 20, QUIET_EVERY = 4, TEXT_BYTES = 8192 };

static const uint64_t CGROUP_EVERY_NS = 900000000; /* ten looks a second are not exact */
static const uint64_t LIMIT_EVERY_NS = 10000000000;
/* v1 says LONG_MAX in pages for "none"; nobody has a limit of an exabyte */
static const int64_t NO_LIMIT = 1ll << 60;

enum { USAGE, STAT, EVENTS, PRESSURE, N_FILES };

struct look {
	int statm;
	int files[N_FILES]; /* of the cgroup; -1: not there */
	bool has_cgroup;
	struct memory_cgroup cgroup;
	int64_t page_bytes;
	uint64_t cgroup_ns, limit_ns; /* when they were read; 0: never */
	unsigned unmoved, skipped;
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
	for (int i = 0; i < N_FILES; i++)
		l->files[i] = -1;
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
	l->unmoved = anon == l->last.bytes[TRIGGER_ANON] ? l->unmoved + 1 : 0;
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

static void read_cgroup(struct look *l, uint64_t now_ns)
{
	char text[TEXT_BYTES];
	uint64_t inactive = 0;
	int64_t usage = -1;

	l->cgroup_ns = now_ns;
	if (read_text(l->files[STAT], text, sizeof(text)))
		look_parse_stat(text, l->cgroup.is_v2, &inactive, &l->last.limit_bytes);
	if (read_text(l->files[USAGE], text, sizeof(text)))
		usage = (int64_t)strtoull(text, NULL, 10);
	l->last.bytes[TRIGGER_CGROUP] = usage < 0                   ? -1
	                                : usage > (int64_t)inactive ? usage - (int64_t)inactive
	                                                            : 0;
	if (read_text(l->files[EVENTS], text, sizeof(text)))
		l->last.oom_kills = look_parse_number(text, "oom_kill");
	l->last.pressure = read_text(l->files[PRESSURE], text, sizeof(text))
	                           ? look_parse_pressure(text)
	                           : -1;
	if (l->cgroup.is_v2 && l->has_cgroup &&
	    (!l->limit_ns || now_ns - l->limit_ns >= LIMIT_EVERY_NS)) {
		l->limit_ns = now_ns;
		read_limit(l);
	}
}

int look_sample(struct look *l, uint64_t now_ns, struct trigger_sample *ret)
{
	int r = 0;

	if (l->unmoved < QUIET_AFTER || ++l->skipped >= QUIET_EVERY)
		r = read_resident(l);
	if (r < 0)
		return r;
	if (!l->cgroup_ns || now_ns - l->cgroup_ns >= CGROUP_EVERY_NS)
		read_cgroup(l, now_ns);
	*ret = l->last;
	return 0;
}
