/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Processes of a cgroup (v1 and v2) and of a container, which is a cgroup whose
 * path carries the container's id. For target_resolve(). */

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* A list of process ids that grows. */
struct target_cgroup_pids {
	pid_t *items;
	size_t n_items, cap_items;
};

/* All processes of the cgroup @path and of those below it; @path is absolute
 * (/sys/fs/cgroup/...) or counts from a mounted hierarchy, as systemctl and
 * /proc/PID/cgroup write it. -ENOENT no such cgroup. */
int target_cgroup_list(const char *path, struct target_cgroup_pids *ret, struct error *err);

/* All processes of the container with id @id, or whose id begins so. -ESRCH
 * none, -EEXIST several containers (the message lists them). */
int target_cgroup_container(const char *id, struct target_cgroup_pids *ret, struct error *err);

/*
 * The hexadecimal container id in one component of a cgroup path, as docker,
 * podman, containerd, CRI-O and their systemd slices write it:
 *   docker/ID  docker-ID.scope  libpod-ID.scope  cri-containerd-ID.scope
 *   kubepods/.../ID  crio-ID.scope  SLICE:cri-containerd:ID
 * Returns the id's length and sets *ret, or 0. A helper of a container that
 * lives outside of it (conmon) is no match.
 */
size_t target_cgroup_container_id(const char *component, size_t len, const char **ret);
