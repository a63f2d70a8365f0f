/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "serve/look_cgroup.h"

enum {
	QUIET_AFTER = 20, /* looks at which it has hardly moved: one more is left out */
	MOST_LEFT_OUT = 10,
	STEP_PARTS = 64, /* of what a rule waits for: less is hardly moved */
};

static const int64_t MOVED_BYTES = 1 << 20; /* from one look to the next, at least */

/* v1 says LONG_MAX in pages for "none"; nobody has a limit of an exabyte */
static const int64_t NO_LIMIT = 1ll << 60;

struct look {
	int statm;
	struct look_cgroup *cgroup;
	int64_t page_bytes;
	uint64_t cgroup_ns; /* of its figures in ->last */
	unsigned unmoved, skipped;
	int64_t moved_bytes; /* as the rules need it; 0: none has said */
	struct trigger_sample last;
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

struct look *look_close(struct look *l)
{
	if (!l)
		return NULL;
	if (l->statm >= 0)
		close(l->statm);
	look_cgroup_leave(l->cgroup);
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
	char path[64];
	int r;

	if (!l)
		return error_oom(err);
	l->last = trigger_sample_unknown();
	l->page_bytes = sysconf(_SC_PAGESIZE);
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	l->statm = open(path, O_RDONLY | O_CLOEXEC);
	if (l->statm < 0)
		return error_set(err, errno == ENOENT ? ESRCH : errno,
		                 "process %d: no such process", pid);
	r = look_cgroup_join(pid, &l->cgroup, err);
	if (r < 0)
		return r;
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
	l->unmoved = llabs(anon - l->last.bytes[TRIGGER_ANON]) <
	                             (l->moved_bytes ? l->moved_bytes : MOVED_BYTES)
	                     ? l->unmoved + 1
	                     : 0;
	l->last.bytes[TRIGGER_ANON] = anon;
	l->skipped = 0;
	return 0;
}

/* A rule about gigabytes does not need to know of each megabyte, and one about other figures only
 * that the process lives. */
static int64_t moved_for(const struct trigger_rule *r)
{
	bool is_size = r->kind == TRIGGER_GROWTH || r->kind == TRIGGER_ABOVE_SIZE;
	int64_t part = (int64_t)(r->bytes / STEP_PARTS);

	if (r->source != TRIGGER_ANON || r->kind == TRIGGER_HELD || r->kind == TRIGGER_PRESSURE ||
	    r->kind == TRIGGER_OOM)
		return INT64_MAX;
	return is_size && part > MOVED_BYTES ? part : MOVED_BYTES;
}

void look_need(struct look *l, const struct trigger_rule *r)
{
	const int64_t moved = moved_for(r);

	if (!l->moved_bytes || moved < l->moved_bytes)
		l->moved_bytes = moved;
	look_cgroup_need(l->cgroup, r);
}

int look_sample(struct look *l, uint64_t now_ns, struct trigger_sample *ret)
{
	const struct look_cgroup_figures *c = look_cgroup_read(l->cgroup, now_ns);
	unsigned left_out = l->unmoved / QUIET_AFTER;
	int news = 0;

	if (left_out > MOST_LEFT_OUT - 1)
		left_out = MOST_LEFT_OUT - 1;
	if (l->skipped++ >= left_out) {
		if (read_resident(l) < 0)
			return -ESRCH;
		news = 1;
	}
	if (c->read_ns != l->cgroup_ns) {
		l->cgroup_ns = c->read_ns;
		l->last.bytes[TRIGGER_CGROUP] = c->usage_bytes;
		l->last.limit_bytes = c->limit_bytes;
		l->last.oom_kills = c->oom_kills;
		l->last.pressure = c->pressure;
		news = 1;
	}
	*ret = l->last;
	return news;
}
