/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A process as one readable thing: who it is, in which namespaces, whether we
 * may look. Opening a target touches nothing in it. The surprising rule: the
 * target's /proc directory is held open, so a pid that is reused by another
 * process turns into -ESRCH instead of somebody else's memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct target {
	pid_t pid;    /* as memwho sees it (thread group) */
	pid_t ns_pid; /* as the target sees itself (last of NSpid) */
	pid_t parent;
	uid_t uid;            /* effective */
	int proc_fd;          /* O_DIRECTORY of /proc/PID */
	uint64_t start_ticks; /* field 22 of stat: with the pid, an identity */
	uint64_t stack_start; /* of this program: an exec changes it; 0: not known */
	char comm[64];        /* as the kernel has it; any bytes */
	char root[4096];      /* where its root is in its mount namespace; "" for "/" (no chroot) */
	char exe[4096];       /* /proc/PID/exe as seen from its root, " (deleted)" cut off; ""
	                         unreadable */
	bool exe_deleted;
	bool same_mount_ns;
	uint16_t machine;  /* e_machine of the running program */
	bool stands_still; /* set by who knows, before the first read: a copy that runs nothing */
	const struct maps_moved *moved; /* code that we have moved, and who did keeps; or NULL */
	struct reader_state *reader;    /* reader.c's own, made at the first read */
};

/* Open process @pid (or the process that thread @pid belongs to). Errors, each
 * with its own sentence and hint: -ESRCH no such process; -EPERM/-EACCES not
 * ours to look at (names what is missing); -ENOTSUP kernel thread, zombie,
 * 32-bit program, other machine. An executable that may be run but not read is
 * no error: exe is known, opening it fails where it is needed. */
int target_open(pid_t pid, struct target **ret, struct error *err);
struct target *target_close(struct target *t);
void target_closep(struct target **t);

/* 0 while it is the same process and not a zombie; else -ESRCH. */
int target_alive(const struct target *t);
/* Has its last thread ended? A process whose first thread alone has ended is a
 * zombie to target_alive(): it cannot be read, but runs. */
bool target_has_ended(const struct target *t);
/* Has it exec'd since target_open()? What was learnt of its memory is of another program then.
 * False also where /proc does not say. */
bool target_has_execed(const struct target *t);

/* The target's /proc/PID/@name, whole, malloc'ed, NUL-terminated; -EFBIG when
 * it has more than @max bytes, -ESRCH when the process has ended, -EACCES with
 * the reason. @ret_len may be NULL. */
int target_proc_file(const struct target *t, const char *name, size_t max, char **ret,
                     size_t *ret_len, struct error *err);
/* Command line with spaces for NULs ("" for none), cut to @size. */
void target_cmdline(const struct target *t, char *buf, size_t size);
/* A "key:  value kB" line of /proc/PID/status in bytes; -1 without that line. */
int64_t target_status_bytes(const struct target *t, const char *key);

/* Thread ids, malloc'ed. */
int target_threads(const struct target *t, pid_t **ret, size_t *ret_n, struct error *err);

/* What /proc says about a path (maps, exe) counts from the root of the mount
 * namespace; a process in a chroot sees it without the chroot's path. Returns
 * the part of @path that the target uses. */
const char *target_inside(const struct target *t, const char *path);

/* Open a regular file as the target sees it, for reading. @path is absolute in
 * the target's root; never follows a link out of that root; -EMEDIUMTYPE for
 * what is not a regular file. */
int target_open_path(const struct target *t, const char *path, int *ret_fd, struct error *err);

/* What a user typed -> processes (target_resolve.c). Accepts PID, pidfile:PATH (first line),
 * cgroup:PATH, container:ID (or a prefix of at least 6 digits), or a process
 * name that exactly one process has (several: -EEXIST, the message lists the
 * candidates). memwho itself is never one. Ascending, no duplicates. -EINVAL
 * for what can't be meant, -ESRCH when nothing is there. */
int target_resolve(const char *spec, pid_t **ret, size_t *ret_n, struct error *err);

/* Children (and theirs) of @pid alive now, without @pid itself. */
int target_descendants(pid_t pid, pid_t **ret, size_t *ret_n, struct error *err);
