/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/watched.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "target/proc.h"
#include "target/target.h"

enum {
	SLICES = 10,
	ROUND_NS = 1000000000,
	WHOLE_S = 10,  /* to 20: between two looks that open everything anew */
	KEPT_PART = 8, /* of the descriptors that we may have */
	MAX_KEPT = 8192,
};

/* /proc/PID/exe of every process, read at most once a slice for all `exe =` targets. */
struct executable {
	pid_t pid;
	char *path;
};

struct watched {
	const struct config *config;
	struct watched_item *items; /* those of the configuration first, in its order */
	size_t n, cap;
	size_t next; /* to look at */
	struct executable *executables;
	size_t n_executables, cap_executables;
	uint64_t executables_ns;
	size_t kept, most_kept; /* descriptors in items */
};

/* ---- executables ---- */

static void forget_executables(struct watched *w)
{
	for (size_t i = 0; i < w->n_executables; i++)
		free(w->executables[i].path);
	w->n_executables = 0;
}

static void read_executables(struct watched *w)
{
	cleanup_free pid_t *pids = NULL;
	struct error ignored;
	size_t n = 0;

	forget_executables(w);
	w->executables_ns = clock_now_ns();
	if (proc_ids(AT_FDCWD, "/proc", &pids, &n) < 0 ||
	    array_reserve(&w->executables, &w->cap_executables, n, &ignored) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		char link[64], path[4096];
		ssize_t len;

		snprintf(link, sizeof(link), "/proc/%d/exe", (int)pids[i]);
		len = readlink(link, path, sizeof(path) - 1);
		if (len <= 0 || pids[i] == getpid())
			continue;
		w->executables[w->n_executables] =
			(struct executable){ pids[i], strndup(path, (size_t)len) };
		if (w->executables[w->n_executables].path)
			w->n_executables++;
	}
}

/* An executable that was replaced while it runs has " (deleted)" behind its path. */
static bool is_executable(const char *path, const char *exe)
{
	size_t n = strlen(exe);

	return !strncmp(path, exe, n) && (!path[n] || !strcmp(path + n, " (deleted)"));
}

/* @age_ns: of what is known about executables, at most. */
static int resolve_exe(struct watched *w, const char *exe, uint64_t age_ns, pid_t **ret,
                       size_t *ret_n, struct error *err)
{
	pid_t *pids = calloc(WORKER_MAX_PIDS, sizeof(*pids));
	size_t n = 0;

	if (!pids)
		return error_oom(err);
	if (clock_now_ns() - w->executables_ns > age_ns)
		read_executables(w);
	for (size_t i = 0; i < w->n_executables && n < WORKER_MAX_PIDS; i++) {
		if (is_executable(w->executables[i].path, exe))
			pids[n++] = w->executables[i].pid;
	}
	if (!n) {
		free(pids);
		return error_set(err, ESRCH, "no process runs %s", exe);
	}
	*ret = pids;
	*ret_n = n;
	return 0;
}

/* ---- looking ---- */

struct seen {
	uint32_t n;
	struct worker_process processes[WORKER_MAX_PIDS];
	int statm[WORKER_MAX_PIDS]; /* watched_item's, to be */
	uint64_t resident_bytes, anon_bytes;
	char comm[64];
};

/* Pages: "size resident shared ...". False: the process has ended; a zombie has none at all. */
static bool add_statm(struct seen *s, int fd)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long size, resident, shared;
	char text[128], *end;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = '\0';
	size = strtoull(text, &end, 10);
	resident = strtoull(end, &end, 10);
	shared = strtoull(end, &end, 10);
	s->resident_bytes += resident * page;
	s->anon_bytes += (resident > shared ? resident - shared : 0) * page;
	return size > 0;
}

static void drop_statm(struct watched *w, int *fd)
{
	if (*fd < 0)
		return;
	close(*fd);
	*fd = -1;
	w->kept--;
}

/* By the descriptor that was kept, which is of this process and of no later one. */
static bool see_again(struct seen *s, pid_t pid, struct watched_item *item)
{
	for (uint32_t i = 0; i < item->n_processes; i++) {
		if (item->processes[i].pid != pid || item->statm[i] < 0)
			continue;
		if (!add_statm(s, item->statm[i]))
			return false;
		if (!s->n)
			memcpy(s->comm, item->comm, sizeof(s->comm));
		s->statm[s->n] = item->statm[i];
		item->statm[i] = -1;
		s->processes[s->n++] = item->processes[i];
		return true;
	}
	return false;
}

/* A process that has ended meanwhile is left out. */
static void see(struct watched *w, struct seen *s, pid_t pid)
{
	cleanup_close int dir = proc_open(pid);
	cleanup_close int statm = -1;
	struct proc_stat stat;

	if (dir < 0 || proc_stat_read(dir, &stat) < 0 || proc_stat_is_dead(&stat) ||
	    proc_stat_is_kernel(&stat))
		return;
	statm = openat(dir, "statm", O_RDONLY | O_CLOEXEC);
	if (statm >= 0)
		add_statm(s, statm);
	if (!s->n)
		memcpy(s->comm, stat.comm, sizeof(s->comm));
	s->statm[s->n] = -1;
	if (statm >= 0 && w->kept < w->most_kept) {
		s->statm[s->n] = take_fd(statm);
		w->kept++;
	}
	s->processes[s->n].pid = pid;
	s->processes[s->n++].start_ticks = stat.start_ticks;
}

static bool is_by_pid(const struct watched_item *item)
{
	return !item->target || (item->target->spec && strspn(item->target->spec, "0123456789") ==
	                                                       strlen(item->target->spec));
}

static int resolve(struct watched *w, const struct watched_item *item, bool whole, pid_t **ret,
                   size_t *n, struct error *err)
{
	if (item->target && item->target->exe)
		return resolve_exe(w, item->target->exe, whole ? ROUND_NS / SLICES : ROUND_NS, ret,
		                   n, err);
	if (whole || !is_by_pid(item) || item->n_processes != 1 || item->statm[0] < 0)
		return target_resolve(item->target ? item->target->spec : item->name, ret, n, err);
	*ret = malloc(sizeof(**ret));
	if (!*ret)
		return error_oom(err);
	**ret = item->processes[0].pid;
	*n = 1;
	return 0;
}

static void note_history(struct watched_item *item, uint64_t now)
{
	if (item->history_ns && now - item->history_ns < WATCHED_EVERY_S * 1000000000ull)
		return;
	item->history_ns = now;
	item->history[item->next_history] = item->resident_bytes;
	item->next_history = (item->next_history + 1) % WATCHED_HISTORY;
}

static bool is_other(const struct watched_item *item, const struct seen *s)
{
	return s->n != item->n_processes ||
	       memcmp(s->processes, item->processes, s->n * sizeof(*s->processes)) != 0;
}

/* A target by pid whose process has ended is gone for good: the number may be used again. */
static bool is_reused(const struct watched_item *item, const struct seen *s)
{
	return is_by_pid(item) && s->n && item->processes[0].start_ticks &&
	       s->processes[0].start_ticks != item->processes[0].start_ticks;
}

static void see_all(struct watched *w, struct watched_item *item, bool whole, const pid_t *pids,
                    size_t n, struct seen *s)
{
	memset(s, 0, sizeof(*s)); /* with its padding: is_other() */
	for (size_t i = 0; i < n && s->n < WORKER_MAX_PIDS; i++) {
		if (whole || !see_again(s, pids[i], item))
			see(w, s, pids[i]);
	}
	for (uint32_t i = 0; i < item->n_processes; i++)
		drop_statm(w, &item->statm[i]);
}

static int nothing_there(struct watched *w, struct watched_item *item, struct seen *s, int r)
{
	for (uint32_t i = 0; i < s->n; i++)
		drop_statm(w, &s->statm[i]);
	item->n_processes = 0;
	item->resident_bytes = item->anon_bytes = 0;
	note_history(item, item->looked_ns);
	return r;
}

/* @whole: nothing of what is known is taken for granted. */
static int look(struct watched *w, struct watched_item *item, bool whole, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	struct seen s;
	size_t n = 0;
	int r = resolve(w, item, whole, &pids, &n, err);

	see_all(w, item, whole, pids, r < 0 ? 0 : n, &s);
	if (r == 0 && is_reused(item, &s))
		r = error_set(err, ESRCH, "process %d has ended; its number is another's",
		              item->processes[0].pid);
	if (r == 0 && !s.n)
		r = error_set(err, ESRCH,
		              item->processes[0].pid
		                      ? "its process has ended"
		                      : "there is no process with that number, or it "
		                        "has no memory of its own");
	item->looked_ns = clock_now_ns();
	if (whole)
		item->whole_ns = item->looked_ns;
	snprintf(item->why, sizeof(item->why), "%s", r < 0 ? err->message : "");
	if (r < 0)
		return nothing_there(w, item, &s, r);
	if (is_other(item, &s)) {
		item->restarts += item->processes[0].pid != 0;
		memcpy(item->processes, s.processes, sizeof(s.processes));
		item->n_processes = s.n;
	}
	memcpy(item->statm, s.statm, sizeof(s.statm));
	memcpy(item->comm, s.comm, sizeof(s.comm));
	item->resident_bytes = s.resident_bytes;
	item->anon_bytes = s.anon_bytes;
	note_history(item, item->looked_ns);
	return 0;
}

static void forget(struct watched *w, struct watched_item *item)
{
	for (uint32_t i = 0; i < item->n_processes; i++)
		drop_statm(w, &item->statm[i]);
}

/* @item is not there any more. */
static void remove_item(struct watched *w, struct watched_item *item)
{
	forget(w, item);
	memmove(item, item + 1, (size_t)(w->items + w->n - item - 1) * sizeof(*item));
	w->n--;
}

/* ---- items ---- */

static int add(struct watched *w, const char *name, const struct config_target *t,
               struct watched_item **ret, struct error *err)
{
	int r = array_reserve(&w->items, &w->cap, w->n + 1, err);

	if (r < 0)
		return r;
	*ret = &w->items[w->n++];
	memset(*ret, 0, sizeof(**ret));
	snprintf((*ret)->name, sizeof((*ret)->name), "%s", name);
	(*ret)->target = t;
	return 0;
}

static int add_configured(struct watched *w, struct error *err)
{
	struct watched_item *item;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->config->n_targets; i++)
		r = add(w, w->config->targets[i].name, &w->config->targets[i], &item, err);
	return r;
}

static size_t most_kept(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur / KEPT_PART > MAX_KEPT)
		return MAX_KEPT;
	return l.rlim_cur / KEPT_PART;
}

int watched_new(const struct config *c, struct watched **ret, struct error *err)
{
	struct watched *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return error_oom(err);
	w->config = c;
	w->most_kept = most_kept();
	r = add_configured(w, err);
	if (r < 0)
		watched_free(w);
	else
		*ret = w;
	return r;
}

static bool is_same_target(const struct config_target *a, const struct config_target *b)
{
	return !strcmp(a->name, b->name) && !a->spec == !b->spec &&
	       !strcmp(a->spec ? a->spec : a->exe, b->spec ? b->spec : b->exe);
}

int watched_reload(struct watched *w, const struct config *c, struct error *err)
{
	struct watched fresh = { .config = c };
	int r = add_configured(&fresh, err);

	if (r < 0) {
		free(fresh.items);
		return r;
	}
	for (size_t i = 0; i < fresh.n; i++) {
		for (size_t k = 0; k < w->n; k++) {
			const struct config_target *t = fresh.items[i].target;

			if (!w->items[k].target || !is_same_target(w->items[k].target, t))
				continue;
			fresh.items[i] = w->items[k];
			fresh.items[i].target = t;
			w->items[k].n_processes = 0; /* its descriptors have moved */
		}
	}
	for (size_t i = 0; i < w->n; i++)
		forget(w, &w->items[i]);
	free(w->items);
	w->items = fresh.items;
	w->n = fresh.n;
	w->cap = fresh.cap;
	w->config = c;
	w->next = 0;
	return 0;
}

struct watched *watched_free(struct watched *w)
{
	if (!w)
		return NULL;
	for (size_t i = 0; i < w->n; i++)
		forget(w, &w->items[i]);
	forget_executables(w);
	free(w->executables);
	free(w->items);
	free(w);
	return NULL;
}

static bool is_old(const struct watched_item *item, uint64_t now)
{
	return !item->target && now - item->asked_ns > WATCHED_KEEP_S * 1000000000ull;
}

void watched_run(struct watched *w)
{
	size_t n = (w->n + SLICES - 1) / SLICES;
	uint64_t now = clock_now_ns();
	struct error ignored;

	while (n--) {
		struct watched_item *item;

		if (w->next >= w->n)
			w->next = 0;
		item = &w->items[w->next];
		if (is_old(item, now)) {
			remove_item(w, item);
			return;
		}
		/* not all of them in the same second */
		look(w, item,
		     now - item->whole_ns > (WHOLE_S + w->next % WHOLE_S) * (uint64_t)ROUND_NS,
		     &ignored);
		w->next++;
	}
}

size_t watched_n(const struct watched *w)
{
	return w->n;
}

struct watched_item *watched_at(struct watched *w, size_t i)
{
	return &w->items[i];
}

/* ---- who may ---- */

bool watched_may_see(const struct watched_item *item, const struct peer *p)
{
	if (p->sees_all)
		return true;
	for (uint32_t i = 0; i < item->n_processes; i++) {
		if (!peer_may_see(p, item->processes[i].pid))
			return false;
	}
	return item->n_processes > 0;
}

static bool is_listed(const struct config_list *l, const char *word)
{
	for (size_t i = 0; i < l->n; i++) {
		if (!strcmp(l->items[i], word))
			return true;
	}
	return !l->n;
}

/* A line of /proc/PID/cgroup is "N:controllers:/path"; @below or its descendants. */
static bool is_in_cgroup(const char *text, const char *below)
{
	size_t n = strlen(below);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		const char *path;

		line += *line == '\n';
		path = strchr(line, ':');
		path = path ? strchr(path + 1, ':') : NULL;
		if (path && !strncmp(path + 1, below, n) && strchr("/\n", path[1 + n]))
			return true;
	}
	return false;
}

static bool is_cgroup_allowed(const struct config *c, pid_t pid)
{
	cleanup_close int dir = proc_open(pid);
	cleanup_free char *text = NULL;

	if (!c->allow_cgroup.n)
		return true;
	if (dir < 0 || proc_read(dir, "cgroup", 65536, &text, NULL) < 0)
		return false;
	for (size_t i = 0; i < c->allow_cgroup.n; i++) {
		if (is_in_cgroup(text, c->allow_cgroup.items[i]))
			return true;
	}
	return false;
}

static bool is_uid_allowed(const struct config *c, pid_t pid)
{
	cleanup_close int dir = proc_open(pid);
	cleanup_free char *status = NULL;
	const char *line;
	char uid[16];

	if (!c->allow_uid.n)
		return true;
	if (dir < 0 || proc_read(dir, "status", 65536, &status, NULL) < 0)
		return false;
	line = proc_status_line(status, "Uid");
	return line && sscanf(line, "%15[0-9]", uid) == 1 && is_listed(&c->allow_uid, uid);
}

/* The allow-list is for processes that are asked for by number. */
static bool is_allowed(const struct config *c, const struct watched_item *item)
{
	pid_t pid = item->processes[0].pid;

	return item->target || (is_listed(&c->allow_comm, item->comm) && is_uid_allowed(c, pid) &&
	                        is_cgroup_allowed(c, pid));
}

static bool takes_numbers(const struct config *c)
{
	return !c->n_targets || c->allow_comm.n || c->allow_uid.n || c->allow_cgroup.n;
}

static int add_number(struct watched *w, const char *name, struct watched_item **ret,
                      struct error *err)
{
	size_t n = 0;

	if (!takes_numbers(w->config)) {
		error_set(err, ENOENT, "only the targets of the configuration are served");
		return error_hint(err, "/targets lists them; allow_uid, allow_comm or allow_cgroup "
		                       "would let in others");
	}
	for (size_t i = 0; i < w->n; i++)
		n += !w->items[i].target;
	if (n >= WATCHED_MAX_PIDS)
		return error_set(err, EBUSY, "%d processes are watched already", WATCHED_MAX_PIDS);
	return add(w, name, NULL, ret, err);
}

static struct watched_item *find(struct watched *w, const char *name)
{
	for (size_t i = 0; i < w->n; i++) {
		if (!strcmp(w->items[i].name, name))
			return &w->items[i];
	}
	return NULL;
}

int watched_find(struct watched *w, const char *name, const struct peer *p,
                 struct watched_item **ret, struct error *err)
{
	bool is_number = name[strspn(name, "0123456789")] == '\0';
	struct watched_item *item = find(w, name);
	bool is_new = !item;
	int r = 0;

	if (is_new && !is_number) {
		error_set(err, ENOENT, "there is no target \"%s\"", name);
		return error_hint(err, "/targets lists them");
	}
	if (is_new)
		r = add_number(w, name, &item, err);
	if (r < 0)
		return r;
	r = look(w, item, true, err);
	if (r == -EINVAL) /* a number that no process can have */
		r = err->code = -ESRCH;
	if (r == 0 && !(watched_may_see(item, p) && is_allowed(w->config, item)))
		r = error_set(err, EACCES, "process %d is not yours to look at here",
		              item->processes[0].pid);
	if (r < 0 && !item->target && (is_new || r == -ESRCH)) {
		/* a number that nobody may watch is not kept; it is the last item, or rare */
		remove_item(w, item);
	}
	if (r < 0)
		return r;
	item->asked_ns = clock_now_ns();
	*ret = item;
	return 0;
}
