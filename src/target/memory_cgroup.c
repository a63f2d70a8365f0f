/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/memory_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/proc.h"
#include "target/target_cgroup.h"

enum {
	TEXT_BYTES = 1 << 26,
	ROOT_INODE = 1, /* of each kernfs root (fs/kernfs/dir.c, kernfs_create_root) */
};

/* A mounted hierarchy that has, or may have, the memory controller. */
struct hierarchy {
	bool is_v2;
	char root[PATH_MAX];  /* what of the hierarchy is mounted */
	char where[PATH_MAX]; /* mount point */
};

/* Is @word one of the comma-separated words of the @len bytes at @list? */
static bool has_word(const char *list, size_t len, const char *word)
{
	size_t want = strlen(word);

	for (const char *p = list, *end = list + len; p < end;) {
		size_t n = strcspn(p, ",\n");

		if (n > (size_t)(end - p))
			n = (size_t)(end - p);
		if (n == want && !memcmp(p, word, n))
			return true;
		p += n + 1;
	}
	return false;
}

/* One line of mountinfo: "ID PARENT MAJ:MIN ROOT WHERE OPTIONS [TAG...] - TYPE SOURCE SUPER" */
static bool parse_mount(const char *line, struct hierarchy *ret)
{
	const char *type = strstr(line, " - "), *newline = strchr(line, '\n'), *super;

	if (!type || (newline && type > newline))
		return false;
	type += 3;
	super = type + strcspn(type, " \n");
	if (*super == ' ')
		super += 1 + strcspn(super + 1, " \n");
	if (*super == ' ')
		super++;
	ret->is_v2 = !strncmp(type, "cgroup2 ", 8);
	if (!ret->is_v2 &&
	    (strncmp(type, "cgroup ", 7) || !has_word(super, strcspn(super, "\n"), "memory")))
		return false;
	return sscanf(line, "%*d %*d %*s %4095s %4095s", ret->root, ret->where) == 2;
}

static bool find_mount(const char *mountinfo, bool want_v2, struct hierarchy *ret)
{
	for (const char *line = mountinfo; line && *line;) {
		const char *next = strchr(line, '\n');

		if (parse_mount(line, ret) && ret->is_v2 == want_v2)
			return true;
		line = next ? next + 1 : NULL;
	}
	return false;
}

/* A line of /proc/PID/cgroup, "ID:CONTROLLERS:PATH": the path of the memory
 * controller's (v1) or of the one without controllers (v2). */
static bool find_path(const char *text, bool want_v2, char *ret, size_t size)
{
	for (const char *line = text; line && *line;) {
		const char *next = strchr(line, '\n');
		const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
		size_t len;

		if (!path || (next && path > next))
			goto other;
		list++;
		len = (size_t)(path - list);
		path++;
		if (want_v2 ? len == 0 && line[0] == '0' : has_word(list, len, "memory")) {
			len = strcspn(path, "\n");
			return snprintf(ret, size, "%.*s", (int)len, path) < (int)size;
		}
	other:
		line = next ? next + 1 : NULL;
	}
	return false;
}

/* @path of the hierarchy as a directory below its mount point. */
static int place(const struct hierarchy *h, const char *path, struct memory_cgroup *ret)
{
	size_t root = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);
	const char *below = path + root;

	/* "/.." is above our cgroup namespace: not mounted here */
	if (strncmp(path, h->root, root) != 0 || (*below && *below != '/') ||
	    !strcmp(below, "/..") || !strncmp(below, "/../", 4))
		return -ENOENT;
	if (!strcmp(below, "/"))
		below = "";
	ret->is_v2 = h->is_v2;
	ret->top_bytes = strlen(h->where);
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	snprintf(ret->dir, sizeof(ret->dir), "%s%s", h->where, below);
	return 0;
}

int memory_cgroup_parse(const char *mountinfo, const char *proc_cgroup, struct memory_cgroup *ret)
{
	cleanup_free struct hierarchy *h = malloc(sizeof(*h));
	char path[PATH_MAX];

	if (!h)
		return -ENOMEM;
	/* where v1 has the controller, v2 has not */
	if (find_path(proc_cgroup, false, path, sizeof(path)))
		return find_mount(mountinfo, false, h) ? place(h, path, ret) : -ENOENT;
	if (find_path(proc_cgroup, true, path, sizeof(path)) && find_mount(mountinfo, true, h))
		return place(h, path, ret);
	return -ENOENT;
}

static bool has_file(const struct memory_cgroup *c, const char *name)
{
	char path[sizeof(c->dir) + 64];

	snprintf(path, sizeof(path), "%s/%s", c->dir, name);
	return access(path, F_OK) == 0;
}

/* The root of v2 has no memory.current, of which nobody is in need. */
static bool is_charged(const struct memory_cgroup *c)
{
	return has_file(c, c->is_v2 ? "memory.current" : "memory.usage_in_bytes");
}

static int no_controller(struct error *err)
{
	return error_set(err, ENOENT, "no memory cgroup is to be seen from here");
}

int memory_cgroup_of(pid_t pid, struct memory_cgroup *ret, struct error *err)
{
	cleanup_free char *mounts = NULL, *text = NULL;
	char name[48];
	int r;

	snprintf(name, sizeof(name), "/proc/%d/cgroup", pid);
	r = proc_read(AT_FDCWD, name, TEXT_BYTES, &text, NULL);
	if (r == -ENOENT || r == -ESRCH)
		return error_set(err, ESRCH, "process %d has ended", pid);
	if (r < 0)
		return error_sys(err, -r, "%s", name);
	r = proc_read(AT_FDCWD, "/proc/self/mountinfo", TEXT_BYTES, &mounts, NULL);
	if (r < 0)
		return error_sys(err, -r, "/proc/self/mountinfo");
	r = memory_cgroup_parse(mounts, text, ret);
	if (r == -ENOMEM)
		return error_oom(err);
	if (r < 0)
		return no_controller(err);
	while (!is_charged(ret)) {
		if (!memory_cgroup_up(ret))
			return no_controller(err);
	}
	return 0;
}

/* Is the directory @path one of the hierarchy @h? */
static bool is_below(const char *path, const struct hierarchy *h)
{
	size_t n = strlen(h->where);

	return !strncmp(path, h->where, n) && (path[n] == '/' || !path[n]);
}

static int at(const struct hierarchy *h, const char *path, struct memory_cgroup *ret)
{
	char whole[PATH_MAX];
	const char *below = is_below(path, h) ? path + strlen(h->where) : path;

	below += strspn(below, "/");
	if (snprintf(whole, sizeof(whole), "%s/%s", strcmp(h->root, "/") ? h->root : "", below) >=
	    (int)sizeof(whole))
		return -ENOENT;
	for (size_t n = strlen(whole); n > 1 && whole[n - 1] == '/'; n--)
		whole[n - 1] = '\0';
	if (place(h, whole, ret) < 0 || !is_charged(ret))
		return -ENOENT;
	return 0;
}

int memory_cgroup_at(const char *path, struct memory_cgroup *ret, struct error *err)
{
	cleanup_free struct hierarchy *h = malloc(sizeof(*h));
	cleanup_free char *mounts = NULL;
	int r;

	if (!h)
		return error_oom(err);
	r = proc_read(AT_FDCWD, "/proc/self/mountinfo", TEXT_BYTES, &mounts, NULL);
	if (r < 0)
		return error_sys(err, -r, "/proc/self/mountinfo");
	for (int v2 = 0; v2 <= 1; v2++) {
		if (find_mount(mounts, v2, h) && at(h, path, ret) == 0)
			return 0;
	}
	return error_set(err, ENOENT, "'%s' is no cgroup of the memory controller", path);
}

bool memory_cgroup_up(struct memory_cgroup *c)
{
	char *slash = strrchr(c->dir, '/');

	if (!slash || (size_t)(slash - c->dir) < c->top_bytes)
		return false;
	*slash = '\0';
	slash = strrchr(c->path, '/');
	if (slash)
		slash[slash == c->path] = '\0';
	return true;
}

static bool holds(const struct memory_cgroup *c, const struct memory_cgroup *other)
{
	size_t n = strlen(c->dir);

	return !strncmp(other->dir, c->dir, n) && (!other->dir[n] || other->dir[n] == '/');
}

void memory_cgroup_join(struct memory_cgroup *c, const struct memory_cgroup *other)
{
	while (!holds(c, other) && memory_cgroup_up(c))
		;
}

bool memory_cgroup_to_container(struct memory_cgroup *c, const char *prefix)
{
	cleanup_free struct memory_cgroup *up = malloc(sizeof(*up));

	if (!up)
		return false;
	*up = *c;
	do {
		const char *name = strrchr(up->path, '/'), *id;

		name = name ? name + 1 : up->path;
		if (target_cgroup_container_id(name, strlen(name), &id) &&
		    !strncasecmp(id, prefix, strlen(prefix))) {
			*c = *up;
			return true;
		}
	} while (memory_cgroup_up(up));
	return false;
}

bool memory_cgroup_is_machine(const struct memory_cgroup *c)
{
	struct stat st;

	return stat(c->dir, &st) == 0 && st.st_ino == ROOT_INODE;
}
