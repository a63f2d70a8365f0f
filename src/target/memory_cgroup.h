/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where the kernel accounts a process's memory: the cgroup of the memory
 * controller, v1 or v2, as a directory that we can read. The surprising rule:
 * on v2 it need not be the process's own cgroup. Where the controller is not
 * enabled memory is charged to the nearest cgroup above that has it, and that
 * is the one found here.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct memory_cgroup {
	bool is_v2;
	char path[PATH_MAX];    /* in the hierarchy as our cgroup namespace sees it: "/a/b" */
	char dir[2 * PATH_MAX]; /* where its files are; begins with the mount point */
	size_t top_bytes;       /* of dir: the mount point, above which we can't look */
};

/* From the texts of /proc/self/mountinfo and /proc/PID/cgroup; looks at no file.
 * -ENOENT: no hierarchy with the memory controller is mounted here, or the
 * cgroup lies outside of the part that is. */
int memory_cgroup_parse(const char *mountinfo, const char *proc_cgroup, struct memory_cgroup *ret);

/* Of process @pid. -ENOENT as above, -ESRCH the process has ended. */
int memory_cgroup_of(pid_t pid, struct memory_cgroup *ret, struct error *err);

/* The cgroup @path: a directory, or counted from the hierarchy's mount point.
 * -ENOENT: not one that has the memory controller. */
int memory_cgroup_at(const char *path, struct memory_cgroup *ret, struct error *err);

/* To the parent; false at the mount point. */
bool memory_cgroup_up(struct memory_cgroup *c);
/* Shorten @c to the nearest cgroup that holds @other, too. */
void memory_cgroup_join(struct memory_cgroup *c, const struct memory_cgroup *other);
/* Shorten @c to the cgroup whose name carries a container's id that begins with
 * @prefix ("": any; of several the innermost); false and unchanged if none does. */
bool memory_cgroup_to_container(struct memory_cgroup *c, const char *prefix);
/* The root of the hierarchy: the whole machine, nobody's in particular. */
bool memory_cgroup_is_machine(const struct memory_cgroup *c);
