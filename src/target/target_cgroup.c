/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/target_cgroup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "target/proc.h"

enum {
	MAX_DEPTH = 64,        /* of nested cgroups */
	PROCS_BYTES = 1 << 26, /* of one cgroup.procs */
	MIN_ID = 32,           /* shortest full container id; all known ones have 64 digits */
	MIN_PREFIX = 6,
	MAX_IDS = 8, /* listed when a prefix means several */
};

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int add_pid(struct target_cgroup_pids *p, pid_t pid, struct error *err)
{
	int r = array_reserve(&p->items, &p->cap_items, p->n_items + 1, err);

	if (r == 0)
		p->items[p->n_items++] = pid;
	return r;
}

/* A threaded v2 cgroup answers EOPNOTSUPP: its processes are in the one above. */
static int add_procs(int dir_fd, struct target_cgroup_pids *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	int r = proc_read(dir_fd, "cgroup.procs", PROCS_BYTES, &text, NULL);
	char *end;

	if (r == -EOPNOTSUPP || r == -ENOENT || r == -ENODEV)
		return 0;
	if (r < 0)
		return error_sys(err, -r, "cgroup.procs");
	for (char *p = text; *p; p = end) {
		long pid = strtol(p, &end, 10);

		if (end == p)
			break;
		end += strspn(end, "\n");
		/* 0: a process outside of our pid namespace */
		if (pid > 0 && (r = add_pid(ret, pid, err)) < 0)
			return r;
	}
	return 0;
}

static int add_tree(int parent_fd, const char *name, int depth, struct target_cgroup_pids *ret,
                    struct error *err)
{
	cleanup_close int fd = openat(parent_fd, name,
	                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup(closedirp) DIR *dir = NULL;
	struct dirent *e;
	int r;

	if (fd < 0) /* removed meanwhile */
		return 0;
	r = add_procs(fd, ret, err);
	if (r < 0 || depth == MAX_DEPTH)
		return r;
	dir = fdopendir(fd);
	if (!dir)
		return error_sys(err, errno, "%s", name);
	(void)take_fd(fd);
	while (r == 0 && (e = readdir(dir))) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			r = add_tree(dirfd(dir), e->d_name, depth + 1, ret, err);
	}
	return r;
}

static bool is_cgroup(const char *path)
{
	char procs[PATH_MAX];

	return snprintf(procs, sizeof(procs), "%s/cgroup.procs", path) < (int)sizeof(procs) &&
	       access(procs, F_OK) == 0;
}

/* One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), if it is a cgroup hierarchy. */
struct hierarchy {
	char root[PATH_MAX];  /* what of the hierarchy is mounted */
	char where[PATH_MAX]; /* mount point */
};

static bool parse_hierarchy(const char *line, struct hierarchy *ret)
{
	const char *type = strstr(line, " - ");

	if (!type || strncmp(type + 3, "cgroup", 6))
		return false;
	return sscanf(line, "%*d %*d %*s %4095s %4095s", ret->root, ret->where) == 2;
}

/* @path inside hierarchy @h: counted from the mount point, or from the root of
 * the hierarchy when only a part of it is mounted here. */
static bool find_in(const struct hierarchy *h, const char *path, char *ret, size_t size)
{
	size_t root = strlen(h->root);

	if (snprintf(ret, size, "%s/%s", h->where, path) < (int)size && is_cgroup(ret))
		return true;
	return root > 1 && !strncmp(path, h->root + 1, root - 1) &&
	       snprintf(ret, size, "%s/%s", h->where, path + root - 1) < (int)size &&
	       is_cgroup(ret);
}

static int list_at(const char *where, struct target_cgroup_pids *ret, struct error *err)
{
	size_t before = ret->n_items;
	int r = add_tree(AT_FDCWD, where, 0, ret, err);

	if (r < 0)
		return error_context(err, "%s", where);
	return ret->n_items > before;
}

/* On v1 a path can exist in several hierarchies: the first that has processes. */
static int list_relative(const char *path, struct target_cgroup_pids *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	char where[2 * PATH_MAX];
	struct hierarchy h;
	bool found = false;
	int r = proc_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 26, &text, NULL);

	if (r < 0)
		return error_sys(err, -r, "/proc/self/mountinfo");
	for (char *save, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (!parse_hierarchy(line, &h) || !find_in(&h, path, where, sizeof(where)))
			continue;
		found = true;
		r = list_at(where, ret, err);
		if (r)
			return r < 0 ? r : 0;
	}
	return found ? 0 : -ENOENT;
}

int target_cgroup_list(const char *path, struct target_cgroup_pids *ret, struct error *err)
{
	const char *relative = path + strspn(path, "/");
	int r;

	if (path[0] == '/' && is_cgroup(path)) {
		r = list_at(path, ret, err);
		return r < 0 ? r : 0;
	}
	r = list_relative(relative, ret, err);
	if (r != -ENOENT)
		return r;
	error_set(err, ENOENT, "there is no cgroup '%s'", path);
	return error_hint(err, "/proc/PID/cgroup and 'systemd-cgls' show how they are called; an "
	                       "absolute path begins with /sys/fs/cgroup");
}

static bool is_hex(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!isxdigit((unsigned char)s[i]))
			return false;
	}
	return true;
}

size_t target_cgroup_container_id(const char *component, size_t len, const char **ret)
{
	static const char scope[] = ".scope";
	const char *id = component, *end;

	if (len > strlen(scope) && !memcmp(component + len - strlen(scope), scope, strlen(scope)))
		len -= strlen(scope);
	end = component + len;
	for (const char *p = component; p < end; p++) {
		if (*p == '-' || *p == ':')
			id = p + 1;
	}
	if (end - id < MIN_ID || !is_hex(id, end - id) ||
	    memmem(component, id - component, "conmon", strlen("conmon")))
		return 0;
	*ret = id;
	return end - id;
}

struct container_search {
	const char *id;
	char found[MAX_IDS][NAME_MAX + 1]; /* different full ids */
	size_t n_found;
};

static void note_id(struct container_search *s, const char *id, size_t len)
{
	for (size_t i = 0; i < s->n_found; i++) {
		if (strlen(s->found[i]) == len && !memcmp(s->found[i], id, len))
			return;
	}
	if (s->n_found < MAX_IDS && len <= NAME_MAX) {
		memcpy(s->found[s->n_found], id, len);
		s->found[s->n_found++][len] = '\0';
	}
}

/* Is one of the components of a /proc/PID/cgroup text the container? */
static bool text_matches(struct container_search *s, const char *text)
{
	size_t want = strlen(s->id);
	bool match = false;

	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "/\n");
		const char *id;
		size_t len = target_cgroup_container_id(p, n, &id);

		if (len >= want && !strncasecmp(id, s->id, want)) {
			note_id(s, id, len);
			match = true;
		}
		p += n + (p[n] != '\0');
	}
	return match;
}

static int search_processes(struct container_search *s, struct target_cgroup_pids *ret,
                            struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	size_t n;
	int r = proc_ids(AT_FDCWD, "/proc", &pids, &n);

	if (r < 0)
		return error_sys(err, -r, "/proc");
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *text = NULL;
		char name[48];

		snprintf(name, sizeof(name), "/proc/%d/cgroup", pids[i]);
		if (proc_read(AT_FDCWD, name, 1 << 16, &text, NULL) < 0 || !text_matches(s, text))
			continue;
		r = add_pid(ret, pids[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int several_containers(const struct container_search *s, struct error *err)
{
	char list[ERROR_MESSAGE_BYTES] = "";
	size_t used = 0;

	for (size_t i = 0; i < s->n_found && used < sizeof(list); i++)
		used += snprintf(list + used, sizeof(list) - used, "%s%.16s", i ? ", " : "",
		                 s->found[i]);
	error_set(err, EEXIST, "several containers have an id that begins with '%s': %s", s->id,
	          list);
	return error_hint(err, "give more digits");
}

int target_cgroup_container(const char *id, struct target_cgroup_pids *ret, struct error *err)
{
	cleanup_free struct container_search *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_oom(err);
	if (strlen(id) < MIN_PREFIX || !is_hex(id, strlen(id))) {
		error_set(err, EINVAL,
		          "'%s' is not a container id (hexadecimal, at least %d digits)", id,
		          MIN_PREFIX);
		return error_hint(err, "docker inspect -f '{{.Id}}' NAME, podman inspect -f "
		                       "'{{.Id}}' NAME or crictl ps gives it");
	}
	s->id = id;
	r = search_processes(s, ret, err);
	if (r < 0)
		return r;
	if (s->n_found > 1)
		return several_containers(s, err);
	if (!ret->n_items) {
		error_set(err, ESRCH, "no process runs in a container with id '%s'", id);
		return error_hint(err, "a container's id is part of its processes' "
		                       "/proc/PID/cgroup; look from the host, not from inside");
	}
	return 0;
}
