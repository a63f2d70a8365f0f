/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/steps.h"
#include "inject/others.h"
#include "inject/transaction.h"
#include "target/memory_cgroup.h"
#include "target/proc.h"

enum {
	TTL_NAPS = 40, /* of 50 ms */
	NAP_NS = 50000000,
	HEARTBEAT_NS = 400000000,
	FIND_TRIES = 100,
	STAT_EXIT_SIGNAL = 38, /* proc_pid_stat(5) */
};

/* ---- may we? ---- */

const struct inject_call *snapshot_calls(size_t *n)
{
	static const struct inject_call calls[] = {
		{ "rt_sigprocmask", SYS_rt_sigprocmask, { SIG_SETMASK, 0, 0, 8 } },
		{ "clone", SYS_clone, { CLONE_FILES | CLONE_FS } },
		{ "clone", SYS_clone, { CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS } },
		{ "nanosleep", SYS_nanosleep, { 0 } },
		{ "wait4", SYS_wait4, { 0, 0, __WALL } },
		{ "exit", SYS_exit, { 0 } },
		{ "exit_group", SYS_exit_group, { 0 } },
	};

	*n = ARRAY_SIZE(calls);
	return calls;
}

static int refuse(struct error *err, const char *why, pid_t pid)
{
	error_set(err, ENOTSUP, "no copy of process %d is made: %s", (int)pid, why);
	return error_hint(err, "--stop reads the process itself while it stands still");
}

static bool overcommit_is_strict(void)
{
	cleanup_free char *text = NULL;

	return proc_read(AT_FDCWD, "/proc/sys/vm/overcommit_memory", 64, &text, NULL) == 0 &&
	       text[0] == '2';
}

/* A "key:  value kB" line of /proc/meminfo in bytes; -1 without it. */
static int64_t host_bytes(const char *key)
{
	cleanup_free char *text = NULL;
	const char *line;

	if (proc_read(AT_FDCWD, "/proc/meminfo", 1 << 16, &text, NULL) < 0)
		return -1;
	line = proc_status_line(text, key);
	return line ? strtoll(line, NULL, 10) * 1024 : -1;
}

/* Each page that the target writes while the copy lives is there twice: at worst
 * all of its own memory. */
static bool has_room(const struct target *t)
{
	int64_t own = target_status_bytes(t, "RssAnon"), room = host_bytes("MemAvailable");

	return own < 0 || room < 0 || own < room;
}

/* A number from a file of a cgroup; "max" and what cannot be read: UINT64_MAX. */
static uint64_t cgroup_number(const struct memory_cgroup *c, const char *name)
{
	cleanup_free char *path = NULL, *text = NULL;

	if (asprintf(&path, "%s/%s", c->dir, name) < 0) {
		path = NULL;
		return UINT64_MAX;
	}
	if (proc_read(AT_FDCWD, path, 4096, &text, NULL) < 0 || text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	return strtoull(text, NULL, 10);
}

/* Page cache that the kernel would give up first. */
static uint64_t cgroup_reclaimable(const struct memory_cgroup *c)
{
	const char *key = c->is_v2 ? "inactive_file " : "total_inactive_file ";
	cleanup_free char *path = NULL, *text = NULL;
	const char *line;

	if (asprintf(&path, "%s/memory.stat", c->dir) < 0) {
		path = NULL;
		return 0;
	}
	if (proc_read(AT_FDCWD, path, 1 << 16, &text, NULL) < 0)
		return 0;
	line = strstr(text, key);
	return line ? strtoull(line + strlen(key), NULL, 10) : 0;
}

/* The same for each limit of the memory cgroup and of those above it. */
static bool cgroup_has_room(const struct target *t)
{
	int64_t own = target_status_bytes(t, "RssAnon");
	struct memory_cgroup c;
	struct error unused;

	if (own < 0 || memory_cgroup_of(t->pid, &c, &unused) < 0)
		return true;
	do {
		uint64_t limit = cgroup_number(&c,
		                               c.is_v2 ? "memory.max" : "memory.limit_in_bytes");
		uint64_t used = cgroup_number(&c,
		                              c.is_v2 ? "memory.current" : "memory.usage_in_bytes");
		uint64_t free = limit > used ? limit - used : 0;

		if (limit != UINT64_MAX && used != UINT64_MAX &&
		    free + cgroup_reclaimable(&c) < (uint64_t)own)
			return false;
	} while (memory_cgroup_up(&c));
	return true;
}

static int check(const struct target *t, struct error *err)
{
	if (overcommit_is_strict())
		return refuse(err, "vm.overcommit_memory is 2", t->pid);
	if (!cgroup_has_room(t))
		return refuse(err,
		              "its memory cgroup could not hold all of its pages twice, and "
		              "each that it writes meanwhile is there twice",
		              t->pid);
	if (!has_room(t))
		return refuse(err,
		              "this machine has less memory free than the process has of its "
		              "own",
		              t->pid);
	return 0;
}

/* ---- whose child ---- */

static bool is_same_namespace(int proc_fd, int other_fd)
{
	struct stat a, b;

	return fstatat(proc_fd, "ns/pid", &a, 0) == 0 && fstatat(other_fd, "ns/pid", &b, 0) == 0 &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static bool reaps(const char *comm)
{
	static const char *const inits[] = {
		"systemd",     "init",    "tini",        "dumb-init",   "docker-init",
		"catatonit",   "runit",   "s6-svscan",   "runsvdir",    "launchd",
		"openrc-init", "upstart", "supervisord", "podman-init",
	};

	for (size_t i = 0; i < ARRAY_SIZE(inits); i++) {
		if (strcmp(comm, inits[i]) == 0)
			return true;
	}
	return false;
}

/* Walk up to the init of the target's pid namespace. */
static bool init_reaps(const struct target *t)
{
	struct proc_stat stat = { .parent = t->parent };

	if (t->ns_pid == 1)
		return false;
	for (unsigned i = 0; i < 1024 && stat.parent > 0; i++) {
		cleanup_close int fd = proc_open(stat.parent);

		if (fd < 0 || !is_same_namespace(t->proc_fd, fd))
			break; /* the namespace's init is the one before */
		if (proc_stat_read(fd, &stat) < 0)
			return false;
	}
	return reaps(stat.comm);
}

/* The copy's pid as we see it; 0 not found. */
static pid_t host_pid(const struct target *t, pid_t ns_pid)
{
	cleanup_close int self = proc_open(getpid());
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int root;

	if (self >= 0 && is_same_namespace(t->proc_fd, self))
		return ns_pid;
	root = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || proc_ids(root, ".", &pids, &n) < 0)
		n = 0;
	if (root >= 0)
		close(root);
	while (n-- > 0) { /* the youngest first, mostly */
		cleanup_close int fd = proc_open(pids[n]);
		cleanup_free char *status = NULL;
		const char *line, *last;

		if (fd < 0 || !is_same_namespace(t->proc_fd, fd) ||
		    proc_read(fd, "status", 1 << 16, &status, NULL) < 0)
			continue;
		line = proc_status_line(status, "NSpid");
		if (!line)
			continue;
		last = line + strcspn(line, "\n");
		while (last > line && last[-1] >= '0' && last[-1] <= '9')
			last--;
		if (strtol(last, NULL, 10) == ns_pid)
			return pids[n];
	}
	return 0;
}

/* ---- signs of life ---- */

struct heartbeat {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	int mem_fd;
	uint64_t ttl_at;
};

static void *beat(void *arg)
{
	struct heartbeat *h = arg;
	const uint32_t ttl = TTL_NAPS;

	pthread_mutex_lock(&h->lock);
	while (!h->stop) {
		struct timespec until;

		if (pwrite(h->mem_fd, &ttl, sizeof(ttl), (off_t)h->ttl_at) < 0)
			break;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += HEARTBEAT_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		pthread_cond_timedwait(&h->wake, &h->lock, &until);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static struct heartbeat *heartbeat_stop(struct heartbeat *h)
{
	if (!h)
		return NULL;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->wake);
	close(h->mem_fd);
	free(h);
	return NULL;
}

static int heartbeat_start(struct snapshot *s, struct error *err)
{
	struct heartbeat *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return error_oom(err);
	h->ttl_at = s->in->area + JOURNAL_CODE_BYTES + offsetof(struct journal, ttl);
	h->mem_fd = openat(s->copy->proc_fd, "mem", O_RDWR | O_CLOEXEC);
	if (h->mem_fd < 0) {
		r = error_sys(err, errno, "memory of the copy");
		free(h);
		return r;
	}
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->wake, NULL);
	r = pthread_create(&h->thread, NULL, beat, h);
	if (r) {
		close(h->mem_fd);
		free(h);
		return error_sys(err, r, "a thread");
	}
	s->heartbeat = h;
	return 0;
}

/* ---- all threads ---- */

static int keep_registers(struct snapshot *s, const struct held *lent, const struct others *others,
                          struct error *err)
{
	s->threads = calloc(others->n + 1, sizeof(*s->threads));
	if (!s->threads)
		return error_oom(err);
	s->threads[s->n_threads++] = (struct snapshot_thread){ lent->tid, lent->regs };
	for (size_t i = 0; i < others->n; i++)
		s->threads[s->n_threads++] = (struct snapshot_thread){ others->items[i].tid,
			                                               others->items[i].regs };
	return 0;
}

/* ---- taking it ---- */

static int clone_failed(const struct target *t, int64_t result, struct error *err)
{
	error_sys(err, (int)-result, "process %d could not be cloned", (int)t->pid);
	if (result == -EAGAIN)
		error_hint(err, "a limit of processes is reached (pids cgroup, RLIMIT_NPROC); "
		                "--stop needs none");
	else
		error_hint(err, "--stop reads the process itself while it stands still");
	return (int)result;
}

static int run_clone(struct inject *in, struct snapshot *s, const struct snapshot_options *o,
                     struct error *err)
{
	cleanup(others_release) struct others others = { .limbo = &in->limbo,
		                                         .patience_ms = HELD_STOP_MS };
	struct stub stub;
	struct held h;
	uint64_t slot, start = clock_now_ns();
	int r = transaction_begin(in, false, &h, &slot, err);

	if (r < 0)
		return r;
	if (o && o->registers) {
		r = others_stop(in->target, h.tid, &others, err);
		if (r == 0)
			r = keep_registers(s, &h, &others, err);
		if (r < 0) {
			held_release(&in->limbo, &h);
			return r;
		}
	}
	in->journal.new_mask = ~0ull;
	in->journal.ttl = TTL_NAPS;
	in->journal.nap[0] = 0;
	in->journal.nap[1] = NAP_NS;
	in->journal.result = 0;
	stub_clone(&stub, in->area, s->twice, &h.back);
	r = transaction_run(in, &h, slot, &stub, err);
	others_release(&others);
	s->pause_ns = clock_now_ns() - start;
	if (r < 0)
		return r;
	if ((int64_t)in->journal.result <= 0)
		return clone_failed(in->target,
		                    in->journal.result ? (int64_t)in->journal.result : -ECHILD,
		                    err);
	s->ns_pid = (pid_t)in->journal.result;
	return 0;
}

/* The first to go when memory runs out, before the target. */
static void offer_to_oom(const struct target *copy)
{
	cleanup_close int fd = openat(copy->proc_fd, "oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1000", 4) < 0)
		return;
}

static int open_copy(struct inject *in, struct snapshot *s, struct error *err)
{
	pid_t pid = 0;
	int r;

	for (unsigned i = 0; i < FIND_TRIES && !pid; i++)
		pid = host_pid(in->target, s->ns_pid);
	if (!pid)
		return error_set(err, ESRCH, "the copy (process %d there) is not found",
		                 (int)s->ns_pid);
	r = target_open(pid, &s->copy, err);
	if (r < 0)
		return error_context(err, "the copy");
	s->copy->stands_still = true;
	offer_to_oom(s->copy);
	return heartbeat_start(s, err);
}

int snapshot_take(struct inject *in, const struct snapshot_options *o, struct snapshot **ret,
                  struct error *err)
{
	cleanup(snapshot_closep) struct snapshot *s = NULL;
	int r = check(in->target, err);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_oom(err);
	s->in = in;
	s->twice = init_reaps(in->target);
	r = run_clone(in, s, o, err);
	if (r == 0)
		r = open_copy(in, s, err);
	if (r < 0)
		return r;
	*ret = take_ptr(s);
	return 0;
}

static void reap(struct inject *in, pid_t ns_pid)
{
	const uint64_t args[6] = { (uint64_t)ns_pid, 0, __WALL };
	struct error unused;
	int64_t result;

	inject_syscall(in, SYS_wait4, args, &result, &unused);
}

struct snapshot *snapshot_close(struct snapshot *s)
{
	if (!s)
		return NULL;
	heartbeat_stop(s->heartbeat);
	if (s->copy) {
		steps_before("kill the copy");
		if (target_alive(s->copy) == 0)
			kill(s->copy->pid, SIGKILL);
	}
	/* without the copy's pid here it ends by its own countdown */
	if (s->ns_pid && !s->twice && s->copy)
		reap(s->in, s->ns_pid);
	target_close(s->copy);
	free(s->threads);
	free(s);
	return NULL;
}

void snapshot_closep(struct snapshot **s)
{
	snapshot_close(*s);
}

/* ---- what others left ---- */

/* Field @n of /proc/PID/stat, counted from 1; behind the name. */
static long stat_field(const char *text, int n)
{
	const char *at = strrchr(text, ')');

	for (int i = 2; at && i < n; i++)
		at = strchr(at + 1, ' ');
	return at ? strtol(at + 1, NULL, 10) : -1;
}

/* A zombie child that tells nobody of its end: nobody else makes such ones. */
static bool is_left_copy(const struct target *t, pid_t pid, pid_t *ns_pid)
{
	cleanup_close int fd = proc_open(pid);
	cleanup_free char *text = NULL, *status = NULL;
	struct proc_stat stat;
	const char *line;

	if (fd < 0 || proc_stat_read(fd, &stat) < 0 || stat.state != 'Z' || stat.parent != t->pid ||
	    proc_read(fd, "stat", 4096, &text, NULL) < 0 ||
	    stat_field(text, STAT_EXIT_SIGNAL) != 0 ||
	    proc_read(fd, "status", 1 << 16, &status, NULL) < 0)
		return false;
	line = proc_status_line(status, "NSpid");
	if (!line)
		return false;
	for (const char *p = line; p && *p && *p != '\n'; p = strchr(p, '\t')) {
		p += *p == '\t';
		*ns_pid = (pid_t)strtol(p, NULL, 10);
		if (!memchr(p, '\t', strcspn(p, "\n")))
			break;
	}
	return *ns_pid > 0;
}

/* Zombies of the target that are ours: how many; each is reaped if @in is there. */
static int leftovers(const struct target *t, struct inject *in)
{
	cleanup_close int root = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int found = 0, r = root < 0 ? -errno : proc_ids(root, ".", &pids, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		pid_t ns_pid = 0;

		if (!is_left_copy(t, pids[i], &ns_pid))
			continue;
		if (in)
			reap(in, ns_pid);
		found++;
	}
	return found;
}

int snapshot_reap_leftovers(struct inject *in, struct error *err)
{
	int r = leftovers(in->target, in);

	return r < 0 ? error_sys(err, -r, "/proc") : r;
}

bool snapshot_has_leftovers(const struct target *t)
{
	return leftovers(t, NULL) > 0;
}
