/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/threads.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "target/proc.h"
#include "target/threads_internal.h"

enum {
	TRIES = 8, /* of all running threads together */
	PAUSE_NS = 500000,
};

void threads_clear(struct threads *t)
{
	free(t->items);
	free(t->ended);
	*t = (struct threads){ 0 };
}

const struct thread *threads_find(const struct threads *t, uint64_t addr)
{
	for (size_t i = 0; i < t->n_items; i++) {
		if (addr >= t->items[i].stack_start && addr < t->items[i].stack_end)
			return &t->items[i];
	}
	return NULL;
}

static int read_task(const struct target *t, pid_t tid, const char *name, char **ret)
{
	char path[64];

	snprintf(path, sizeof(path), "task/%d/%s", tid, name);
	return proc_read(t->proc_fd, path, 1 << 16, ret, NULL);
}

static void read_comm(const struct target *t, struct thread *to)
{
	cleanup_free char *text = NULL;
	size_t len;

	if (read_task(t, to->tid, "comm", &text) < 0)
		return;
	len = strlen(text);
	if (len && text[len - 1] == '\n') /* the name itself may hold others */
		text[len - 1] = '\0';
	snprintf(to->comm, sizeof(to->comm), "%s", text);
}

/* The last of NSpid is what the thread itself sees. */
static int read_ns_tid(const struct target *t, struct thread *to)
{
	cleanup_free char *text = NULL;
	const char *line;
	int r = read_task(t, to->tid, "status", &text);

	if (r < 0)
		return r;
	to->ns_tid = to->tid;
	line = proc_status_line(text, "NSpid");
	for (; line && *line >= '0' && *line <= '9'; line += strspn(line, " \t")) {
		to->ns_tid = (pid_t)strtol(line, NULL, 10);
		line += strspn(line, "0123456789");
	}
	return 0;
}

/* "NUMBER ARGS... SP PC", "-1 SP PC" outside a system call, or "running"
 * (proc_pid_syscall(5)). */
static uint64_t parse_sp(char *text)
{
	char *blank = strrchr(text, ' ');

	if (!blank)
		return 0;
	*blank = '\0';
	blank = strrchr(text, ' ');
	return blank ? strtoull(blank + 1, NULL, 16) : 0;
}

/* 0 found, -EAGAIN running, else -errno. */
static int read_sp(const struct target *t, struct thread *to)
{
	cleanup_free char *text = NULL;
	int r = read_task(t, to->tid, "syscall", &text);

	if (r < 0)
		return r;
	if (!strncmp(text, "running", 7))
		return -EAGAIN;
	to->sp = parse_sp(text);
	return 0;
}

static int add_thread(const struct target *t, pid_t tid, struct threads *to, struct error *err)
{
	struct thread one = { .tid = tid };
	int r = read_ns_tid(t, &one);

	if (r == -ENOMEM)
		return error_oom(err);
	if (r < 0) /* has ended meanwhile */
		return 0;
	read_comm(t, &one);
	r = array_reserve(&to->items, &to->cap_items, to->n_items + 1, err);
	if (r == 0)
		to->items[to->n_items++] = one;
	return r;
}

static bool ask_all(const struct target *t, struct threads *to)
{
	bool again = false;

	for (size_t i = 0; i < to->n_items; i++) {
		if (!to->items[i].sp && read_sp(t, &to->items[i]) == -EAGAIN)
			again = true;
	}
	return again;
}

static void read_stack_pointers(const struct target *t, struct threads *to)
{
	const struct timespec pause = { 0, PAUSE_NS };

	for (int i = 0; ask_all(t, to) && i < TRIES; i++)
		nanosleep(&pause, NULL);
	for (size_t i = 0; i < to->n_items; i++)
		to->n_running += to->items[i].sp == 0;
}

static void threads_clearp(struct threads *t)
{
	threads_clear(t);
}

int threads_read(const struct target *t, const struct maps *m, struct threads *ret,
                 struct error *err)
{
	cleanup(threads_clearp) struct threads all = { 0 };
	cleanup_free pid_t *tids = NULL;
	size_t n = 0;
	int r = target_threads(t, &tids, &n, err);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_thread(t, tids[i], &all, err);
	if (r < 0)
		return r;
	if (!all.n_items)
		return error_set(err, ESRCH, "process %d (%s) has ended", t->pid, t->comm);
	read_stack_pointers(t, &all);
	threads_stack_find(t, m, &all);
	*ret = all;
	all = (struct threads){ 0 };
	return 0;
}
