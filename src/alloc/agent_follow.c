/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_follow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "alloc/recorder_agent.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "target/forks.h"
#include "target/proc.h"

enum {
	MAX_PROCESSES = 1024, /* each has its own tables of stacks here, and 15 MiB there */
	FIRST_AGAIN_MS = 2,
	LAST_AGAIN_MS = 100,
	GIVE_UP_MS = 3000,
	LOOK_MS = 20, /* at /proc, if the kernel says nothing */
};

#define MS 1000000ull

struct waiting {
	pid_t pid;
	u64 since_ns, next_ns; /* its fork or exec; not before */
	unsigned again_ms;
};

struct agent_follow {
	struct forks *forks; /* NULL: /proc */
	/* pid -> 1: one of ours, or was; 0: another has the pid now. By /proc: -> its start */
	struct hash_map family;
	struct hash_map lost; /* pid -> 1: counted in lost_children */
	struct waiting *waiting;
	size_t n_waiting, cap_waiting;
	u64 looked_ns, look_cost_ns, longest_look_ns;
	size_t unnamed; /* children that could not be noted, for want of memory */
};

/* ---- who waits ---- */

static struct tracee *living(const struct alloc_recorder *r, pid_t pid)
{
	for (size_t i = r->n_tracees; i-- > 0;) {
		if (r->tracees[i]->pid == pid && !r->tracees[i]->ended)
			return r->tracees[i];
	}
	return NULL;
}

static void add_waiting(struct alloc_recorder *r, pid_t pid, u64 since_ns)
{
	struct agent_follow *f = r->follow;
	struct error ignored;

	for (size_t i = 0; i < f->n_waiting; i++) {
		if (f->waiting[i].pid == pid) {
			f->waiting[i].next_ns = 0; /* it has its own memory now */
			return;
		}
	}
	if (array_reserve(&f->waiting, &f->cap_waiting, f->n_waiting + 1, &ignored) < 0) {
		r->lost_children++;
		return;
	}
	f->waiting[f->n_waiting++] =
		(struct waiting){ .pid = pid, .since_ns = since_ns, .again_ms = FIRST_AGAIN_MS };
}

/* A new life of this pid. */
static void add_to_family(struct agent_follow *f, pid_t pid, u64 value)
{
	uint64_t *lost = hash_map_get(&f->lost, (uint64_t)pid);
	struct error ignored;

	if (lost)
		*lost = 0;
	if (hash_map_put(&f->family, (uint64_t)pid, value, &ignored) < 0)
		f->unnamed++;
}

static bool is_family(const struct agent_follow *f, pid_t pid)
{
	const uint64_t *v = hash_map_get(&f->family, (uint64_t)pid);

	return v && *v;
}

static void on_event(void *arg, const struct forks_event *e)
{
	struct alloc_recorder *r = arg;
	struct agent_follow *f = r->follow;

	if (e->kind == FORKS_FORK && is_family(f, e->parent)) {
		add_to_family(f, e->pid, 1);
		add_waiting(r, e->pid, e->time_ns);
	} else if (e->kind == FORKS_FORK && is_family(f, e->pid)) {
		add_to_family(f, e->pid, 0); /* somebody else's child has an old pid of ours */
	} else if (e->kind == FORKS_EXEC && is_family(f, e->pid) && !living(r, e->pid)) {
		/* of one that is recorded its agent's end says it */
		add_waiting(r, e->pid, e->time_ns);
	}
}

/* ---- /proc ---- */

static u64 started(pid_t pid, pid_t *parent)
{
	cleanup_close int fd = proc_open(pid);
	struct proc_stat s;

	if (fd < 0 || proc_stat_read(fd, &s) < 0 || proc_stat_is_dead(&s))
		return 0;
	*parent = s.parent;
	return s.start_ticks + 1;
}

/* Children have greater pids than their parents, but where these have begun again: those
 * are found by the next look. */
static void look_at_proc(struct alloc_recorder *r)
{
	struct agent_follow *f = r->follow;
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	const u64 begun = clock_now_ns();

	if (begun - f->looked_ns < LOOK_MS * MS || begun - f->looked_ns < 10 * f->look_cost_ns)
		return;
	if (proc_ids(AT_FDCWD, "/proc", &pids, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		const uint64_t *known = hash_map_get(&f->family, (uint64_t)pids[i]);
		pid_t parent = 0;
		const u64 start = started(pids[i], &parent);

		if (!start || (known && *known == start) || !is_family(f, parent))
			continue;
		add_to_family(f, pids[i], start);
		add_waiting(r, pids[i], begun);
	}
	f->look_cost_ns = clock_now_ns() - begun;
	if (f->looked_ns && begun - f->looked_ns > f->longest_look_ns)
		f->longest_look_ns = begun - f->looked_ns;
	f->looked_ns = begun;
}

/* ---- taking in ---- */

static void lose(struct alloc_recorder *r, const struct waiting *w, const struct error *why)
{
	uint64_t *known = hash_map_get(&r->follow->lost, (uint64_t)w->pid);
	struct error ignored;

	log_note(LOG_DEBUG, "child %d is not recorded: %s", w->pid, why->message);
	/* a program that it begins later may be lost, too: still one child */
	if (known && *known)
		return;
	r->lost_children++;
	hash_map_put(&r->follow->lost, (uint64_t)w->pid, 1, &ignored);
}

/* As a child it was not to be had; what it has begun is. */
static void find_again(struct alloc_recorder *r, pid_t pid)
{
	uint64_t *known = hash_map_get(&r->follow->lost, (uint64_t)pid);

	if (!known || !*known)
		return;
	*known = 0;
	r->lost_children--;
}

/* Also one that is on its way out, or a zombie: it has no memory any more. */
static bool is_gone(pid_t pid)
{
	char path[64];
	pid_t parent;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	cleanup_fclose FILE *f = fopen(path, "re");

	return !started(pid, &parent) || !f || fgetc(f) == EOF;
}

static int take_in(struct alloc_recorder *r, const struct waiting *w, struct error *err)
{
	struct tracee *t;
	int rc;

	if (r->n_tracees >= MAX_PROCESSES)
		return error_set(err, ENOSPC, "more than %d processes", MAX_PROCESSES);
	rc = tracee_open(w->pid, r->n_slots, r->pool, r->allocators, &t, err);
	if (rc == 0)
		rc = recorder_keep(r, t, err);
	if (rc < 0)
		return rc;
	r->n_slots++;
	rc = recorder_agent_attach(r, t, err);
	if (rc < 0) {
		recorder_drop(r, r->n_tracees - 1);
		return rc;
	}
	t->late_ns = clock_now_ns() - w->since_ns;
	return 0;
}

/* A thread stood in the wrong place, it is a vfork child, it has just begun a program: soon
 * it may do. */
static bool may_work_later(int rc)
{
	return rc == -EBUSY || rc == -EAGAIN || rc == -ESRCH || rc == -ETIMEDOUT;
}

/* True: it waits no more. */
static bool try_one(struct alloc_recorder *r, struct waiting *w)
{
	struct error why = { 0 };
	const int rc = take_in(r, w, &why);
	const u64 now = clock_now_ns();

	if (rc == 0) {
		find_again(r, w->pid);
		return true;
	}
	if (is_gone(w->pid)) {
		lose(r, w, &why);
		return true;
	}
	if (may_work_later(rc) && now - w->since_ns < GIVE_UP_MS * MS) {
		w->next_ns = now + w->again_ms * MS;
		w->again_ms = w->again_ms < LAST_AGAIN_MS ? 2 * w->again_ms : w->again_ms;
		return false;
	}
	lose(r, w, &why);
	recorder_leave_out(r, w->pid, &why);
	return true;
}

/* The others wait for it meanwhile: one at a time. */
static void work_on_waiting(struct alloc_recorder *r)
{
	struct agent_follow *f = r->follow;
	const u64 now = clock_now_ns();

	for (size_t i = 0; i < f->n_waiting; i++) {
		struct waiting w = f->waiting[i];

		if (w.next_ns > now)
			continue;
		if (try_one(r, &w))
			f->waiting[i] = f->waiting[--f->n_waiting];
		else
			f->waiting[i] = w;
		return;
	}
}

static void see_who_is_there(struct alloc_recorder *r)
{
	struct error ignored;

	if (r->follow->forks)
		forks_read(r->follow->forks, on_event, r, &ignored);
	else
		look_at_proc(r);
}

/* ---- for the recorder ---- */

int agent_follow_begin(struct alloc_recorder *r, struct error *err)
{
	struct error why;

	if (!r->options.follow)
		return 0;
	r->follow = calloc(1, sizeof(*r->follow));
	if (!r->follow)
		return error_oom(err);
	if (forks_open(&r->follow->forks, &why) < 0)
		log_note(
			LOG_INFO,
			"%s; children are looked for in /proc, those that end at once are not seen",
			why.message);
	for (size_t i = 0; i < r->n_tracees; i++) {
		pid_t parent;

		add_to_family(r->follow, r->tracees[i]->pid, started(r->tracees[i]->pid, &parent));
	}
	return 0;
}

void agent_follow_work(struct alloc_recorder *r)
{
	if (!r->follow)
		return;
	see_who_is_there(r);
	work_on_waiting(r);
}

void agent_follow_exec(struct alloc_recorder *r, pid_t pid)
{
	if (r->follow)
		add_waiting(r, pid, clock_now_ns());
}

void agent_follow_settle(struct alloc_recorder *r)
{
	if (!r->follow)
		return;
	/* what has just happened is told a millisecond later */
	nanosleep(&(struct timespec){ 0, 2 * MS }, NULL);
	r->follow->looked_ns -= r->follow->looked_ns ? LOOK_MS * MS : 0;
	see_who_is_there(r);
}

bool agent_follow_is_behind(const struct alloc_recorder *r)
{
	return r->follow && r->follow->n_waiting;
}

void agent_follow_give_up(struct alloc_recorder *r)
{
	const struct error why = { .message = "the recording ended" };

	if (!r->follow)
		return;
	agent_follow_settle(r);
	for (size_t i = 0; i < r->follow->n_waiting; i++)
		lose(r, &r->follow->waiting[i], &why);
	r->follow->n_waiting = 0;
}

int agent_follow_report(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	const struct agent_follow *f = r->follow;
	const u64 lost = f ? f->unnamed + (f->forks ? forks_lost(f->forks) : 0) : 0;
	u64 late = 0;
	int rc;

	for (size_t i = 0; i < r->n_tracees; i++)
		late = r->tracees[i]->late_ns > late ? r->tracees[i]->late_ns : late;
	if (!f)
		return 0;
	rc = report_int(to, "lost_children", r->lost_children ? "children not recorded" : NULL,
	                (int64_t)r->lost_children, "", err);
	if (rc == 0)
		rc = report_double(to, "children_joined_after_seconds",
		                   late ? "children recorded from up to this after their start"
		                        : NULL,
		                   (double)late / 1e9, "s", err);
	if (rc == 0 && lost)
		rc = report_int(to, "lost_fork_events", "forks and execs that were not seen",
		                (int64_t)lost, "", err);
	if (rc == 0 && !f->forks)
		rc = report_double(to, "children_unseen_seconds",
		                   "children that lived for less than this may not have been seen",
		                   (double)(f->longest_look_ns > LOOK_MS * MS ? f->longest_look_ns
		                                                              : LOOK_MS * MS) /
		                           1e9,
		                   "s", err);
	return rc;
}

struct agent_follow *agent_follow_close(struct agent_follow *f)
{
	if (!f)
		return NULL;
	forks_close(f->forks);
	hash_map_clear(&f->family);
	hash_map_clear(&f->lost);
	free(f->waiting);
	free(f);
	return NULL;
}
