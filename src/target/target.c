/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "target/permission.h"
#include "target/proc.h"
#include "target/reader.h"
#include "target/registers.h"
#include "target/rooted.h"

static const char deleted_suffix[] = " (deleted)";

struct target *target_close(struct target *t)
{
	if (!t)
		return NULL;
	reader_state_free(t->reader);
	if (t->proc_fd >= 0)
		close(t->proc_fd);
	free(t);
	return NULL;
}

void target_closep(struct target **t)
{
	*t = target_close(*t);
}

static int ended(const struct target *t, struct error *err)
{
	return error_set(err, ESRCH, "process %d%s%s%s has ended", t->pid, t->comm[0] ? " (" : "",
	                 t->comm, t->comm[0] ? ")" : "");
}

/* Turn what /proc answered into a sentence. */
static int explain(const struct target *t, int errnum, const char *what, struct error *err)
{
	if (errnum == EACCES || errnum == EPERM)
		return permission_explain(t->pid, t->proc_fd, PERMISSION_READ, errnum, err);
	if (errnum == ENOMEM)
		return error_oom(err);
	/* once the process is gone its directory is empty (ENOENT), reads give ESRCH */
	if (errnum == ESRCH || target_alive(t) < 0)
		return ended(t, err);
	return error_sys(err, errnum, "/proc/%d/%s", t->pid, what);
}

static int no_such_process(pid_t pid, struct error *err)
{
	/* mounted with hidepid=2, /proc denies that other users' processes exist */
	if (kill(pid, 0) == 0 || errno == EPERM) {
		error_set(err, EACCES, "process %d exists, but /proc does not show it to us", pid);
		return error_hint(err, "/proc is mounted with hidepid: run the same command with "
		                       "sudo");
	}
	error_set(err, ESRCH, "there is no process %d", pid);
	return error_hint(err, "'ps -e' lists what runs here; a container's own process numbers "
	                       "are not those of the host");
}

static int refuse_zombie(const struct target *t, const struct proc_stat *s, struct error *err)
{
	if (s->n_threads > 1)
		return error_set(
			err, ENOTSUP,
			"the main thread of process %d (%s) has ended while others run; the "
			"kernel does not show the memory of such a process",
			t->pid, t->comm);
	error_set(err, ENOTSUP,
	          "process %d (%s) is a zombie: it has ended and has no memory, only its parent "
	          "has not asked for the exit status",
	          t->pid, t->comm);
	return error_hint(err, "the parent is process %d", s->parent);
}

static int read_stat(struct target *t, struct error *err)
{
	struct proc_stat s;
	int r = proc_stat_read(t->proc_fd, &s);

	if (r < 0)
		return explain(t, -r, "stat", err);
	memcpy(t->comm, s.comm, sizeof(t->comm));
	t->parent = s.parent;
	t->start_ticks = s.start_ticks;
	t->stack_start = s.stack_start;
	if (proc_stat_is_kernel(&s)) {
		error_set(err, ENOTSUP,
		          "process %d (%s) is a kernel thread: it has no memory of its "
		          "own",
		          t->pid, t->comm);
		return error_hint(err, "kernel memory is in /proc/meminfo and 'slabtop'");
	}
	if (proc_stat_is_dead(&s))
		return refuse_zombie(t, &s, err);
	return 0;
}

/* @tgid: the process that t->pid is a thread of. */
static int read_status(struct target *t, pid_t *tgid, struct error *err)
{
	cleanup_free char *text = NULL;
	const char *line;
	int r = proc_read(t->proc_fd, "status", 1 << 20, &text, NULL);

	if (r < 0)
		return explain(t, -r, "status", err);
	line = proc_status_line(text, "Tgid");
	*tgid = line ? (pid_t)strtol(line, NULL, 10) : t->pid;
	line = proc_status_line(text, "Uid");
	if (line)
		sscanf(line, "%*u %u", &t->uid);
	t->ns_pid = t->pid;
	line = proc_status_line(text, "NSpid"); /* absent without CONFIG_PID_NS */
	for (; line && *line >= '0' && *line <= '9'; line += strspn(line, " \t")) {
		t->ns_pid = (pid_t)strtol(line, NULL, 10);
		line += strspn(line, "0123456789");
	}
	return 0;
}

const char *target_inside(const struct target *t, const char *path)
{
	size_t len = strlen(t->root);

	return len && !strncmp(path, t->root, len) && path[len] == '/' ? path + len : path;
}

static void read_root(struct target *t)
{
	ssize_t n = readlinkat(t->proc_fd, "root", t->root, sizeof(t->root) - 1);

	t->root[n > 1 ? n : 0] = '\0';
}

static int read_exe(struct target *t, struct error *err)
{
	ssize_t n = readlinkat(t->proc_fd, "exe", t->exe, sizeof(t->exe) - 1);
	size_t suffix = strlen(deleted_suffix);
	const char *inside;

	if (n < 0 && errno == ENOENT) /* no memory any more, or the file system is gone */
		return target_alive(t) < 0 ? ended(t, err) : 0;
	if (n < 0)
		return explain(t, errno, "exe", err);
	t->exe[n] = '\0';
	inside = target_inside(t, t->exe);
	n -= inside - t->exe;
	memmove(t->exe, inside, n + 1);
	if ((size_t)n > suffix && !strcmp(t->exe + n - suffix, deleted_suffix)) {
		struct stat st;

		/* a file can be called so: then it still has a link */
		if (fstatat(t->proc_fd, "exe", &st, 0) < 0 || st.st_nlink == 0) {
			t->exe[n - suffix] = '\0';
			t->exe_deleted = true;
		}
	}
	return 0;
}

/*
 * An executable that may only be run (mode 0711) does not tell its class. The
 * auxiliary vector does: of a 64-bit process it is pairs of 8 bytes whose first
 * is a small number; of a 32-bit one the value sits in the upper half.
 */
static bool auxv_is_64_bit(const char *auxv, size_t len)
{
	uint64_t pair[2];

	for (size_t i = 0; i + sizeof(pair) <= len; i += sizeof(pair)) {
		memcpy(pair, auxv + i, sizeof(pair));
		if (pair[0] == AT_NULL)
			return i > 0;
		if (pair[0] > 1024)
			return false;
	}
	return false;
}

static int refuse_class(const struct target *t, struct error *err)
{
	error_set(err, ENOTSUP, "process %d (%s) is a 32-bit program; memwho reads 64-bit ones",
	          t->pid, t->comm);
	return error_hint(err, "valgrind --tool=massif can run 32-bit programs");
}

static int read_machine_from_auxv(struct target *t, struct error *err)
{
	cleanup_free char *auxv = NULL;
	size_t len;
	int r = proc_read(t->proc_fd, "auxv", 1 << 16, &auxv, &len);

	if (r < 0)
		return explain(t, -r, "auxv", err);
	if (len && !auxv_is_64_bit(auxv, len))
		return refuse_class(t, err);
	t->machine = REGISTERS_MACHINE;
	return 0;
}

static int read_machine(struct target *t, struct error *err)
{
	cleanup_close int fd = openat(t->proc_fd, "exe", O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr head; /* e_machine is at the same place in both classes */

	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG))
		return read_machine_from_auxv(t, err);
	if (head.e_ident[EI_CLASS] != ELFCLASS64)
		return refuse_class(t, err);
	t->machine = head.e_machine;
	if (t->machine != REGISTERS_MACHINE || head.e_ident[EI_DATA] != ELFDATA2LSB) {
		error_set(err, ENOTSUP,
		          "process %d (%s) is a program for another machine (ELF "
		          "machine %u)",
		          t->pid, t->comm, t->machine);
		return error_hint(err, "this memwho was built for ELF machine %u",
		                  REGISTERS_MACHINE);
	}
	return 0;
}

static bool same_namespace(const struct target *t, const char *name)
{
	char path[32];
	struct stat ours, theirs;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	return stat(path, &ours) == 0 && fstatat(t->proc_fd, name, &theirs, 0) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* Everything that looking needs, asked at once, so that a refusal comes first. */
static int may_look(const struct target *t, struct error *err)
{
	cleanup_close int fd = openat(t->proc_fd, "maps", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? explain(t, errno, "maps", err) : 0;
}

static int open_proc(struct target *t, pid_t pid, struct error *err)
{
	int fd = proc_open(pid);

	if (fd == -ENOENT || fd == -ESRCH)
		return no_such_process(pid, err);
	if (fd < 0)
		return error_sys(err, -fd, "/proc/%d", pid);
	if (t->proc_fd >= 0)
		close(t->proc_fd);
	t->proc_fd = fd;
	t->pid = pid;
	return 0;
}

/* Started in a new pid namespace without a /proc of its own, a process sees
 * numbers that are not those that it may use. */
static int check_proc(struct error *err)
{
	char self[16];
	ssize_t n = readlink("/proc/self", self, sizeof(self) - 1);

	if (n < 0 && errno != ENOENT)
		return error_sys(err, errno, "/proc");
	self[n < 0 ? 0 : n] = '\0';
	if (n > 0 && strtol(self, NULL, 10) == getpid())
		return 0;
	if (access("/proc/version", F_OK) < 0) {
		error_set(err, ENOENT, "/proc is not mounted");
		return error_hint(err, "mount -t proc proc /proc");
	}
	error_set(err, ENOTSUP, "/proc belongs to another pid namespace than memwho");
	return error_hint(err, "mount -t proc proc /proc in this namespace, or run memwho where "
	                       "/proc comes from");
}

static int open_process(struct target *t, pid_t pid, struct error *err)
{
	pid_t tgid;
	int r = open_proc(t, pid, err);

	if (r == 0)
		r = read_status(t, &tgid, err);
	if (r == 0 && tgid != pid) {
		r = open_proc(t, tgid, err);
		if (r == 0)
			r = read_status(t, &tgid, err);
	}
	if (r == 0)
		r = read_stat(t, err);
	return r;
}

int target_open(pid_t pid, struct target **ret, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	int r;

	if (pid <= 0)
		return error_set(err, EINVAL, "%d is not a process id", pid);
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_oom(err);
	t->proc_fd = -1;
	r = check_proc(err);
	if (r == 0)
		r = open_process(t, pid, err);
	if (r == 0)
		r = may_look(t, err);
	if (r == 0) {
		read_root(t);
		r = read_exe(t, err);
	}
	if (r == 0)
		r = read_machine(t, err);
	if (r < 0)
		return r;
	t->same_mount_ns = same_namespace(t, "ns/mnt");
	*ret = take_ptr(t);
	return 0;
}

int target_alive(const struct target *t)
{
	struct proc_stat s;

	if (proc_stat_read(t->proc_fd, &s) < 0 || proc_stat_is_dead(&s))
		return -ESRCH;
	return 0;
}

bool target_has_ended(const struct target *t)
{
	struct proc_stat s;

	return proc_stat_read(t->proc_fd, &s) < 0 || (proc_stat_is_dead(&s) && s.n_threads <= 1);
}

bool target_has_execed(const struct target *t)
{
	struct proc_stat s;

	return t->stack_start && proc_stat_read(t->proc_fd, &s) == 0 && s.stack_start &&
	       s.stack_start != t->stack_start;
}

int target_proc_file(const struct target *t, const char *name, size_t max, char **ret,
                     size_t *ret_len, struct error *err)
{
	int r = proc_read(t->proc_fd, name, max, ret, ret_len);

	return r < 0 ? explain(t, -r, name, err) : 0;
}

void target_cmdline(const struct target *t, char *buf, size_t size)
{
	cleanup_close int fd = openat(t->proc_fd, "cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 || !size ? -1 : read(fd, buf, size - 1);

	if (!size)
		return;
	if (n < 0)
		n = 0;
	for (ssize_t i = 0; i < n; i++) {
		if (!buf[i])
			buf[i] = ' ';
	}
	while (n > 0 && buf[n - 1] == ' ')
		n--;
	buf[n] = '\0';
}

int64_t target_status_bytes(const struct target *t, const char *key)
{
	cleanup_free char *text = NULL;
	const char *line;
	int64_t kib;

	if (proc_read(t->proc_fd, "status", 1 << 20, &text, NULL) < 0)
		return -1;
	line = proc_status_line(text, key);
	if (!line || sscanf(line, "%" SCNd64 " kB", &kib) != 1)
		return -1;
	return kib * 1024;
}

int target_threads(const struct target *t, pid_t **ret, size_t *ret_n, struct error *err)
{
	int r = proc_ids(t->proc_fd, "task", ret, ret_n);

	return r < 0 ? explain(t, -r, "task", err) : 0;
}

int target_open_path(const struct target *t, const char *path, int *ret_fd, struct error *err)
{
	cleanup_close int root = openat(t->proc_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (root < 0)
		return explain(t, errno, "root", err);
	fd = rooted_open(root, path);
	if (fd == -EMEDIUMTYPE)
		return error_set(err, EMEDIUMTYPE, "%s is not a regular file", path);
	if (fd < 0)
		return error_sys(err, -fd, "%s%s", path,
		                 t->same_mount_ns ? "" : " (as the process sees it)");
	*ret_fd = fd;
	return 0;
}

/* One row of the process table. */
struct family {
	pid_t pid, parent;
	bool dead;
};

static int read_families(struct family **ret, size_t *ret_n, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	cleanup_free struct family *all = NULL;
	size_t n_pids, n = 0;
	int r = proc_ids(AT_FDCWD, "/proc", &pids, &n_pids);

	if (r < 0)
		return error_sys(err, -r, "/proc");
	all = calloc(n_pids + 1, sizeof(*all));
	if (!all)
		return error_oom(err);
	for (size_t i = 0; i < n_pids; i++) {
		cleanup_close int fd = proc_open(pids[i]);
		struct proc_stat s;

		if (fd < 0 || proc_stat_read(fd, &s) < 0)
			continue;
		all[n++] = (struct family){ pids[i], s.parent, proc_stat_is_dead(&s) };
	}
	*ret = take_ptr(all);
	*ret_n = n;
	return 0;
}

static struct family *family_find(struct family *all, size_t n, pid_t pid)
{
	size_t at = partition_point(n, i, all[i].pid < pid);

	return at < n && all[at].pid == pid ? &all[at] : NULL;
}

/* Does the chain of parents lead to @root? Bounded: pids reused while we read
 * could close a ring. */
static bool descends(struct family *all, size_t n, const struct family *f, pid_t root)
{
	for (size_t i = 0; f && i < n; i++) {
		if (f->parent == root)
			return true;
		f = family_find(all, n, f->parent);
	}
	return false;
}

int target_descendants(pid_t pid, pid_t **ret, size_t *ret_n, struct error *err)
{
	cleanup_free struct family *all = NULL;
	cleanup_free pid_t *pids = NULL;
	size_t n = 0, n_pids = 0;
	int r = read_families(&all, &n, err);

	if (r < 0)
		return r;
	pids = calloc(n + 1, sizeof(*pids));
	if (!pids)
		return error_oom(err);
	for (size_t i = 0; i < n; i++) {
		if (!all[i].dead && all[i].pid != pid && descends(all, n, &all[i], pid))
			pids[n_pids++] = all[i].pid;
	}
	*ret = take_ptr(pids);
	*ret_n = n_pids;
	return 0;
}
