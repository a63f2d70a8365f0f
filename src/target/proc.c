/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"

enum { PF_KTHREAD_ = 0x00200000 }; /* include/linux/sched.h, the same since 2.6.27 */

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

int proc_open(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Append what one read() gives; 0 at the end, 1 for more. */
static int read_some(int fd, char *buf, size_t room, size_t *len)
{
	ssize_t n;

	do
		n = read(fd, buf + *len, room);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*len += n;
	return n > 0;
}

int proc_read(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len)
{
	cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	cleanup_free char *buf = NULL;
	struct error ignored;
	size_t cap = 0, len = 0;
	int r;

	if (fd < 0)
		return -errno;
	do {
		if (array_reserve(&buf, &cap, len + 4096, &ignored) < 0)
			return -ENOMEM;
		r = read_some(fd, buf, cap - len - 1, &len);
		if (r < 0)
			return r;
		if (len > max)
			return -EFBIG;
	} while (r);
	buf[len] = '\0';
	*ret = take_ptr(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int proc_stat_parse(const char *text, size_t len, struct proc_stat *ret)
{
	const char *open = memchr(text, '(', len);
	const char *close = memrchr(text, ')', len); /* the name may hold ')' */
	struct proc_stat s = { 0 };
	int parent;
	size_t n;

	if (!open || !close || close < open)
		return -EINVAL;
	/* fields 3 state, 4 ppid, 9 flags, 20 num_threads, 22 starttime, 28 startstack */
	if (sscanf(close + 1,
	           " %c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %" SCNd64
	           " %*d %" SCNu64 " %*u %*d %*u %*u %*u %" SCNu64,
	           &s.state, &parent, &s.flags, &s.n_threads, &s.start_ticks, &s.stack_start) < 5)
		return -EINVAL;
	n = close - open - 1;
	if (n >= sizeof(s.comm))
		n = sizeof(s.comm) - 1;
	memcpy(s.comm, open + 1, n);
	s.parent = parent;
	*ret = s;
	return 0;
}

int proc_stat_read(int dir_fd, struct proc_stat *ret)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = proc_read(dir_fd, "stat", 4096, &text, &len);

	return r < 0 ? r : proc_stat_parse(text, len, ret);
}

bool proc_stat_is_kernel(const struct proc_stat *s)
{
	return s->flags & PF_KTHREAD_;
}

bool proc_stat_is_dead(const struct proc_stat *s)
{
	return s->state == 'Z' || s->state == 'X' || s->state == 'x';
}

const char *proc_status_line(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		if (!strncmp(p, key, len) && p[len] == ':')
			return p + len + 1 + strspn(p + len + 1, " \t");
	}
	return NULL;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

int proc_ids(int dir_fd, const char *name, pid_t **ret, size_t *ret_n)
{
	cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup(closedirp) DIR *dir = NULL;
	cleanup_free pid_t *ids = NULL;
	struct error ignored;
	size_t n = 0, cap = 0;
	struct dirent *e;

	if (fd < 0 || !(dir = fdopendir(fd)))
		return -errno;
	(void)take_fd(fd);
	errno = 0;
	while ((e = readdir(dir))) {
		char *end;
		long id = strtol(e->d_name, &end, 10);

		if (*end || id <= 0 || id > INT32_MAX)
			continue;
		if (array_reserve(&ids, &cap, n + 1, &ignored) < 0)
			return -ENOMEM;
		ids[n++] = id;
		errno = 0;
	}
	if (errno)
		return -errno;
	if (n)
		qsort(ids, n, sizeof(*ids), by_number);
	*ret = take_ptr(ids);
	*ret_n = n;
	return 0;
}
