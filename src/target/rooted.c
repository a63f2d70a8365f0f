/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/rooted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"

enum {
	MAX_LINKS = 40, /* as the kernel's MAXSYMLINKS */
	MAX_DEPTH = 64,
};

int rooted_reopen(int path_fd)
{
	struct stat st;
	char link[32];
	int fd;

	if (fstat(path_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EMEDIUMTYPE;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

static int open_in_root(int root_fd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (!feature_allowed("openat2"))
		return -ENOSYS;
	fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

/*
 * The same walk for kernels before 5.6, and for sandboxes whose seccomp filter
 * does not know openat2 (they answer ENOSYS or EPERM). fds[0] is the root and
 * fds[depth] where the walk is; ".." goes back to an fd that is still held, so
 * that a directory moved meanwhile does not lead outside.
 */
struct walk {
	int fds[MAX_DEPTH];
	int depth;
	int links;
	char rest[PATH_MAX]; /* what is still to do */
};

static void walk_up(struct walk *w, int depth)
{
	while (w->depth > depth)
		close(w->fds[w->depth--]);
}

static void walk_end(struct walk *w)
{
	walk_up(w, 0);
}

/* Put the link's text before the rest. */
static int walk_link(struct walk *w, int link_fd)
{
	char text[PATH_MAX], both[PATH_MAX];
	ssize_t n = readlinkat(link_fd, "", text, sizeof(text) - 1);

	if (n < 0)
		return -errno;
	if (++w->links > MAX_LINKS)
		return -ELOOP;
	text[n] = '\0';
	if (snprintf(both, sizeof(both), "%s/%s", text, w->rest) >= (int)sizeof(both))
		return -ENAMETOOLONG;
	memcpy(w->rest, both, sizeof(both));
	if (text[0] == '/')
		walk_up(w, 0);
	return 0;
}

static int walk_step(struct walk *w, const char *name)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (!*name || !strcmp(name, "."))
		return 0;
	if (!strcmp(name, "..")) {
		walk_up(w, w->depth ? w->depth - 1 : 0);
		return 0;
	}
	fd = openat(w->fds[w->depth], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return walk_link(w, fd);
	if (w->depth + 1 == MAX_DEPTH)
		return -ENAMETOOLONG;
	w->fds[++w->depth] = take_fd(fd);
	return 0;
}

static int walk_in_root(int root_fd, const char *path)
{
	cleanup(walk_end) struct walk w = { .fds = { root_fd } };
	char name[NAME_MAX + 1];
	int r, fd;

	if (snprintf(w.rest, sizeof(w.rest), "%s", path) >= (int)sizeof(w.rest))
		return -ENAMETOOLONG;
	while (w.rest[0]) {
		size_t n = strcspn(w.rest, "/"), skip = n + strspn(w.rest + n, "/");

		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, w.rest, n);
		name[n] = '\0';
		memmove(w.rest, w.rest + skip, strlen(w.rest + skip) + 1);
		r = walk_step(&w, name);
		if (r < 0)
			return r;
	}
	if (w.depth == 0) {
		fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	return w.fds[w.depth--];
}

int rooted_open(int root_fd, const char *path)
{
	cleanup_close int fd = open_in_root(root_fd, path);

	if (fd == -ENOSYS || fd == -EPERM)
		fd = walk_in_root(root_fd, path);
	return fd < 0 ? fd : rooted_reopen(fd);
}
