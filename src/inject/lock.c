/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/proc.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* PID_FS_MAGIC of include/uapi/linux/magic.h, Linux 6.9. Before that all pidfds of the machine have
 * one inode. */
#define PIDFS 0x50494446

enum { LOCKS_MAX_BYTES = 1 << 22 };

void lock_give(struct lock *l)
{
	if (l->process >= 0)
		close(l->process);
	if (l->folder >= 0)
		close(l->folder);
	*l = LOCK_NONE;
}

/* -1: there is none to be had. */
static int open_process(const struct target *t)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	struct statfs fs;

	return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PIDFS ? take_fd(fd) : -1;
}

/* Of a line of /proc/locks ("1: FLOCK  ADVISORY  WRITE 4711 00:05:126267 0 EOF", proc(5)) on this
 * file: the process; else 0. */
static pid_t holder_in(const char *line, const struct stat *file)
{
	unsigned major, minor;
	uint64_t inode;
	int pid;

	if (sscanf(line, "%*u: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &major, &minor, &inode) !=
	            4 ||
	    makedev(major, minor) != file->st_dev || inode != file->st_ino)
		return 0;
	return pid;
}

/* 0: not known, as in another pid namespace. */
static pid_t holder_of(int fd)
{
	cleanup_free char *text = NULL;
	struct stat file;

	if (fstat(fd, &file) < 0 ||
	    proc_read(AT_FDCWD, "/proc/locks", LOCKS_MAX_BYTES, &text, NULL) < 0)
		return 0;
	for (const char *line = text; line && *line;) {
		const pid_t pid = holder_in(line, &file);

		if (pid > 0)
			return pid;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return 0;
}

static int take(const struct target *t, int fd, struct error *err)
{
	const int r = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	pid_t holder;

	if (r == 0)
		return 0;
	if (r != -EWOULDBLOCK)
		return error_sys(err, -r, "a lock for process %d", (int)t->pid);
	holder = holder_of(fd);
	if (holder <= 0)
		return error_set(err, EBUSY, "another memwho is at work in process %d",
		                 (int)t->pid);
	return error_set(err, EBUSY, "another memwho is at work in process %d: process %d",
	                 (int)t->pid, (int)holder);
}

/* Another folder than the lock's: a mark and a lock do not meet. */
static int open_mark(const struct target *t, int how)
{
	cleanup_close int fd = openat(t->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || flock(fd, how | LOCK_NB) < 0)
		return -1;
	return take_fd(fd);
}

int lock_mark(const struct target *t)
{
	return open_mark(t, LOCK_SH);
}

pid_t lock_marked_by(const struct target *t)
{
	cleanup_close int free = open_mark(t, LOCK_EX);
	cleanup_close int fd = openat(t->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return free >= 0 || fd < 0 ? 0 : holder_of(fd);
}

int lock_take(const struct target *t, struct lock *ret, struct error *err)
{
	cleanup(lock_give) struct lock l = { open_process(t), -1 };
	int r = l.process < 0 ? 0 : take(t, l.process, err);

	if (r < 0)
		return r;
	l.folder = openat(t->proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l.folder < 0)
		return error_sys(err, errno, "a lock for process %d", (int)t->pid);
	r = take(t, l.folder, err);
	if (r < 0)
		return r;
	*ret = l;
	l = LOCK_NONE;
	return 0;
}
