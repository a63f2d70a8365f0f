/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/path.h"
#include "target/proc.h"
#include "target/target.h"
#include "target/target_cgroup.h"

enum {
	SHOWN_CANDIDATES = 6,
	SHOWN_COMMAND = 48, /* columns of a candidate's command line */
};

static void pids_clear(struct target_cgroup_pids *p)
{
	free(p->items);
	*p = (struct target_cgroup_pids){ 0 };
}

static int pids_add(struct target_cgroup_pids *p, pid_t pid, struct error *err)
{
	int r = array_reserve(&p->items, &p->cap_items, p->n_items + 1, err);

	if (r == 0)
		p->items[p->n_items++] = pid;
	return r;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* Sort, drop doubles and ourselves. */
static void pids_tidy(struct target_cgroup_pids *p)
{
	size_t n = 0;

	if (p->n_items)
		qsort(p->items, p->n_items, sizeof(*p->items), by_number);
	for (size_t i = 0; i < p->n_items; i++) {
		if (p->items[i] != getpid() && (!n || p->items[n - 1] != p->items[i]))
			p->items[n++] = p->items[i];
	}
	p->n_items = n;
}

/* All of @text up to @end (white space behind it is fine) as a pid; -1 if it is none. */
static long long parse_pid(const char *text)
{
	char *end;
	long long pid;

	if (*text < '0' || *text > '9')
		return -1;
	errno = 0;
	pid = strtoll(text, &end, 10);
	if (errno || end[strspn(end, " \t\r\n")] || pid <= 0 || pid > INT_MAX)
		return -1;
	return pid;
}

static int resolve_pid(const char *spec, struct target_cgroup_pids *ret, struct error *err)
{
	long long pid = parse_pid(spec);

	if (pid < 0) {
		error_set(err, EINVAL, "'%s' is not a process id", spec);
		return error_hint(err, "process ids are whole numbers from 1 to %d", INT_MAX);
	}
	if (pid == getpid())
		return error_set(err, EINVAL, "%s is memwho itself", spec);
	return pids_add(ret, pid, err);
}

static int read_first_line(const char *path, char *buf, size_t size, struct error *err)
{
	/* O_NONBLOCK: a FIFO would wait for its writer */
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (n < 0) {
		error_sys(err, errno, "pidfile %s", path);
		return err->code == -EACCES
		               ? error_hint(err, "run the same command with sudo")
		               : error_hint(err, "pidfile:PATH is a file whose first line is "
		                                 "a process id");
	}
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}

static int resolve_pidfile(const char *path, struct target_cgroup_pids *ret, struct error *err)
{
	char line[64];
	cleanup_close int fd = -1;
	long long pid;
	int r = read_first_line(path, line, sizeof(line), err);

	if (r < 0)
		return r;
	pid = parse_pid(line + strspn(line, " \t"));
	if (pid < 0)
		return error_set(err, EINVAL, "the first line of %s is not a process id: '%.40s'",
		                 path, line);
	fd = proc_open(pid);
	if (fd < 0) {
		error_set(err, ESRCH, "%s names process %lld, which does not run", path, pid);
		return error_hint(err, "the file is left over, or counts in another pid namespace "
		                       "(a container): then use container:ID or the host's pid");
	}
	return pids_add(ret, pid, err);
}

static int resolve_cgroup(const char *path, struct target_cgroup_pids *ret, struct error *err)
{
	int r = target_cgroup_list(path, ret, err);

	if (r < 0)
		return r;
	pids_tidy(ret);
	if (ret->n_items)
		return 0;
	error_set(err, ESRCH, "cgroup '%s' has no process", path);
	return error_hint(err, "what /proc/PID/cgroup of a process says is its cgroup");
}

/*
 * Names.
 */

static bool exe_is_called(int proc_fd, const char *name)
{
	static const char suffix[] = " (deleted)";
	char exe[PATH_MAX + 1];
	ssize_t n = readlinkat(proc_fd, "exe", exe, sizeof(exe) - 1);
	size_t cut = strlen(suffix);

	if (n < 0)
		return false;
	exe[n] = '\0';
	if (!strcmp(path_base(exe), name))
		return true;
	if ((size_t)n <= cut || strcmp(exe + n - cut, suffix))
		return false;
	exe[n - cut] = '\0';
	return !strcmp(path_base(exe), name);
}

static bool argv0_is_called(int proc_fd, const char *name)
{
	cleanup_close int fd = openat(proc_fd, "cmdline", O_RDONLY | O_CLOEXEC);
	char argv0[PATH_MAX + 1];
	ssize_t n = fd < 0 ? -1 : read(fd, argv0, sizeof(argv0) - 1);

	if (n <= 0)
		return false;
	argv0[n] = '\0'; /* behind the first NUL is argv[1] */
	return !strcmp(path_base(argv0), name);
}

/* Zombies and kernel threads have no memory: nobody means them. */
static bool is_called(pid_t pid, const char *name)
{
	cleanup_close int fd = proc_open(pid);
	struct proc_stat s;

	if (fd < 0 || proc_stat_read(fd, &s) < 0 || proc_stat_is_dead(&s) ||
	    proc_stat_is_kernel(&s))
		return false;
	return !strcmp(s.comm, name) || exe_is_called(fd, name) || argv0_is_called(fd, name);
}

static int several(const char *name, const struct target_cgroup_pids *found, struct error *err)
{
	char list[ERROR_MESSAGE_BYTES] = "";
	size_t used = 0, i;

	for (i = 0; i < found->n_items && i < SHOWN_CANDIDATES; i++) {
		struct target t = { .proc_fd = proc_open(found->items[i]) };
		char command[SHOWN_COMMAND + 1] = "";

		if (t.proc_fd >= 0) {
			target_cmdline(&t, command, sizeof(command));
			close(t.proc_fd);
		}
		used += snprintf(list + used, sizeof(list) - used, "%s%d (%s)", i ? ", " : "",
		                 found->items[i], command);
		if (used >= sizeof(list))
			break;
	}
	error_set(err, EEXIST, "%zu processes are called '%s': %s%s", found->n_items, name, list,
	          i < found->n_items ? ", ..." : "");
	return error_hint(err, "name one by its pid, or several at once by cgroup:PATH, "
	                       "container:ID, or their parent with --follow");
}

static int resolve_name(const char *name, struct target_cgroup_pids *ret, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	size_t n;
	int r = proc_ids(AT_FDCWD, "/proc", &pids, &n);

	if (r < 0)
		return error_sys(err, -r, "/proc");
	for (size_t i = 0; i < n; i++) {
		if (pids[i] == getpid() || !is_called(pids[i], name))
			continue;
		r = pids_add(ret, pids[i], err);
		if (r < 0)
			return r;
	}
	if (ret->n_items > 1)
		return several(name, ret, err);
	if (!ret->n_items) {
		error_set(err, ESRCH, "no process is called '%s'", name);
		return error_hint(err, "a target is a PID, a process name, pidfile:PATH, "
		                       "cgroup:PATH or container:ID");
	}
	return 0;
}

static const struct {
	const char *prefix;
	int (*resolve)(const char *text, struct target_cgroup_pids *ret, struct error *err);
} kinds[] = {
	{ "pidfile:", resolve_pidfile },
	{ "cgroup:", resolve_cgroup },
	{ "container:", target_cgroup_container },
};

static int resolve_any(const char *spec, struct target_cgroup_pids *ret, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t len = strlen(kinds[i].prefix);

		if (strncmp(spec, kinds[i].prefix, len))
			continue;
		if (!spec[len])
			return error_set(err, EINVAL, "nothing follows '%s'", kinds[i].prefix);
		return kinds[i].resolve(spec + len, ret, err);
	}
	if (!*spec)
		return error_set(err, EINVAL, "an empty word is no target");
	/* a number is a pid even where a process has that name */
	if (!spec[strspn(spec, "0123456789")] || spec[0] == '-')
		return resolve_pid(spec, ret, err);
	return resolve_name(spec, ret, err);
}

int target_resolve(const char *spec, pid_t **ret, size_t *ret_n, struct error *err)
{
	cleanup(pids_clear) struct target_cgroup_pids found = { 0 };
	int r = resolve_any(spec, &found, err);

	if (r < 0)
		return r;
	pids_tidy(&found);
	if (!found.n_items)
		return error_set(err, ESRCH, "'%s' is memwho itself", spec);
	*ret = take_ptr(found.items);
	*ret_n = found.n_items;
	return 0;
}
