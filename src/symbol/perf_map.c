/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/perf_map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

struct perf_map perf_map_none(void)
{
	return (struct perf_map){ .fd = -1 };
}

static void forget(struct perf_map *m)
{
	free(take_ptr(m->text));
	spans_clear(&m->spans);
}

void perf_map_clear(struct perf_map *m)
{
	forget(m);
	if (m->fd >= 0)
		close(m->fd);
	*m = perf_map_none();
}

void perf_map_open(struct perf_map *m, const struct target *t)
{
	cleanup_close int fd = -1;
	struct error ignored;
	struct stat st;
	char path[64];

	if (m->fd >= 0)
		return;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", t->ns_pid);
	if (target_open_path(t, path, &fd, &ignored) < 0 || fstat(fd, &st) < 0)
		return;
	/* anybody can write into /tmp: only the process itself tells what its code is */
	if (st.st_uid != t->uid && st.st_uid != 0) {
		log_note(LOG_WARN, "%s belongs to another user; its names are not used", path);
		return;
	}
	m->fd = take_fd(fd);
}

/* Hexadecimal digits and a blank; "0x" is written by some. */
static bool number(char **p, uint64_t *ret)
{
	char *end;

	if (!strchr("0123456789abcdefABCDEF", **p) || !**p)
		return false;
	errno = 0;
	*ret = strtoull(*p, &end, 16);
	if (errno || *end != ' ')
		return false;
	*p = end + strspn(end, " ");
	return true;
}

static int parse_line(char *line, uint64_t nth, struct spans *spans, struct error *err)
{
	struct span one = { .rank = nth };
	uint64_t size;

	if (!number(&line, &one.start) || !number(&line, &size) || !*line ||
	    __builtin_add_overflow(one.start, size, &one.end))
		return 0; /* a line that is being written, or nonsense */
	one.name = line;
	return spans_add(spans, one, err);
}

int perf_map_parse(char *text, struct spans *spans, struct error *err)
{
	uint64_t nth = 0;

	while (*text && nth < PERF_MAP_MAX_LINES) {
		char *newline = strchr(text, '\n');
		int r;

		if (!newline) /* not written to its end yet */
			break;
		*newline = '\0';
		r = parse_line(text, nth++, spans, err);
		if (r < 0)
			return r;
		text = newline + 1;
	}
	return spans_sort(spans, err);
}

static int read_all(struct perf_map *m, off_t size, struct error *err)
{
	size_t want = size > PERF_MAP_MAX_BYTES ? PERF_MAP_MAX_BYTES : size, len = 0;

	forget(m);
	m->text = malloc(want + 1);
	if (!m->text)
		return error_oom(err);
	while (len < want) {
		ssize_t n = pread(m->fd, m->text + len, want - len, len);

		if (n <= 0)
			break;
		len += n;
	}
	m->text[len] = '\0';
	return perf_map_parse(m->text, &m->spans, err);
}

const char *perf_map_find(struct perf_map *m, uint64_t addr)
{
	const struct span *s;
	struct error err;
	struct stat st;

	if (m->fd < 0)
		return NULL;
	if (fstat(m->fd, &st) == 0 && st.st_size != m->read_bytes) {
		m->read_bytes = st.st_size;
		if (read_all(m, st.st_size, &err) < 0)
			forget(m);
	}
	s = spans_highest(&m->spans, addr);
	return s ? s->name : NULL;
}
