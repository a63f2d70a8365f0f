/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/top.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "target/proc.h"
#include "target/target_cgroup.h"

enum { STATUS_BYTES = 1 << 16, CGROUP_BYTES = 1 << 16 };

void top_clear(struct top *t)
{
	free(t->rows);
	*t = (struct top){ 0 };
}

static int64_t bytes_of(const char *status, const char *key)
{
	const char *line = proc_status_line(status, key);

	return line ? (int64_t)strtoull(line, NULL, 10) * 1024 : -1;
}

/* The last number of NSpid: "NSpid:	4711	12". */
static pid_t inner_pid(const char *status, pid_t pid)
{
	const char *line = proc_status_line(status, "NSpid");
	long last = pid;
	char *end;

	while (line && *line && *line != '\n') {
		last = strtol(line, &end, 10);
		if (end == line)
			break;
		line = end + strspn(end, "\t ");
	}
	return (pid_t)last;
}

static void fill_status(struct top_row *r, const char *status)
{
	const char *uid = proc_status_line(status, "Uid");

	r->ns_pid = inner_pid(status, r->pid);
	r->uid = uid ? (uid_t)strtoul(uid, NULL, 10) : 0;
	r->virtual_bytes = bytes_of(status, "VmSize");
	r->resident_bytes = bytes_of(status, "VmRSS");
	r->swap_bytes = bytes_of(status, "VmSwap");
	r->anon_bytes = bytes_of(status, "RssAnon");
	r->file_bytes = bytes_of(status, "RssFile");
	r->shmem_bytes = bytes_of(status, "RssShmem");
}

/* The innermost component of any hierarchy's path that is a container's. */
static void fill_container(struct top_row *r, const char *text)
{
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "/\n"), len;
		const char *id;

		len = target_cgroup_container_id(p, n, &id);
		if (len && len < sizeof(r->container))
			snprintf(r->container, sizeof(r->container), "%.*s", (int)len, id);
		if (p[n] == '\n' && r->container[0])
			return;
		p += n + (p[n] != '\0');
	}
}

enum outcome { ROW, GONE, HIDDEN, WITHOUT_MEMORY };

static enum outcome failed(int r)
{
	return r == -ENOENT || r == -ESRCH ? GONE : HIDDEN;
}

static enum outcome read_row(pid_t pid, struct top_row *r)
{
	cleanup_close int fd = proc_open(pid);
	cleanup_free char *status = NULL, *cgroup = NULL;
	struct proc_stat s;
	int e;

	*r = (struct top_row){ .pid = pid,
		               .ns_pid = pid,
		               .unnamed_bytes = -1,
		               .pss_bytes = -1,
		               .allocator_bytes = -1 };
	if (fd < 0)
		return failed(fd);
	e = proc_stat_read(fd, &s);
	if (e < 0)
		return failed(e);
	/* of a process whose main thread alone has ended the others still have the memory */
	if (proc_stat_is_kernel(&s) || (proc_stat_is_dead(&s) && s.n_threads <= 1))
		return WITHOUT_MEMORY;
	memcpy(r->name, s.comm, sizeof(s.comm));
	r->start_ticks = s.start_ticks;
	r->n_threads = s.n_threads;
	e = proc_read(fd, "status", STATUS_BYTES, &status, NULL);
	if (e < 0)
		return failed(e);
	fill_status(r, status);
	if (r->virtual_bytes < 0) /* ending: its memory is gone already */
		return WITHOUT_MEMORY;
	if (proc_read(fd, "cgroup", CGROUP_BYTES, &cgroup, NULL) == 0)
		fill_container(r, cgroup);
	return ROW;
}

int top_read(const pid_t *pids, size_t n, struct top *ret, struct error *err)
{
	cleanup(top_clear) struct top t = { .at_ns = clock_now_ns() };

	for (size_t i = 0; i < n; i++) {
		int r = array_reserve(&t.rows, &t.cap_rows, t.n_rows + 1, err);

		if (r < 0)
			return r;
		switch (read_row(pids[i], &t.rows[t.n_rows])) {
		case ROW: t.n_rows++; break;
		case GONE: t.n_gone++; break;
		case HIDDEN: t.n_hidden++; break;
		case WITHOUT_MEMORY: t.n_kernel++; break;
		}
	}
	*ret = t;
	t = (struct top){ 0 };
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

void top_grow(struct top *now, const struct top *before)
{
	cleanup_free struct top_row *old = calloc(before->n_rows + 1, sizeof(*old));
	double seconds = (double)(now->at_ns - before->at_ns) / 1e9;

	if (!old || seconds <= 0)
		return;
	if (before->n_rows)
		memcpy(old, before->rows, before->n_rows * sizeof(*old));
	qsort(old, before->n_rows, sizeof(*old), by_pid);
	for (size_t i = 0; i < now->n_rows; i++) {
		struct top_row *r = &now->rows[i], *was;

		was = bsearch(r, old, before->n_rows, sizeof(*old), by_pid);
		r->has_growth = was && was->start_ticks == r->start_ticks &&
		                was->resident_bytes >= 0 && r->resident_bytes >= 0;
		if (r->has_growth)
			r->growth_bytes_s = (double)(r->resident_bytes - was->resident_bytes) /
			                    seconds;
	}
}

/*
 * Sorting.
 */

#define BY_NUMBER(key, member)                                                                     \
	static int by_##key(const struct top_row *a, const struct top_row *b)                      \
	{                                                                                          \
		return (b->member > a->member) - (b->member < a->member);                          \
	}
BY_NUMBER(virtual, virtual_bytes)
BY_NUMBER(resident, resident_bytes)
BY_NUMBER(swap, swap_bytes)
BY_NUMBER(pss, pss_bytes)
BY_NUMBER(unnamed, unnamed_bytes)
BY_NUMBER(threads, n_threads)
BY_NUMBER(growth, growth_bytes_s)

static int by_id(const struct top_row *a, const struct top_row *b)
{
	return by_pid(a, b);
}

static int by_name(const struct top_row *a, const struct top_row *b)
{
	return strcmp(a->name, b->name);
}

static int by_container(const struct top_row *a, const struct top_row *b)
{
	/* those in none behind the others */
	if (!a->container[0] || !b->container[0])
		return !a->container[0] - !b->container[0];
	return strcmp(a->container, b->container);
}

static int by_allocator(const struct top_row *a, const struct top_row *b)
{
	if (!a->allocator[0] || !b->allocator[0])
		return !a->allocator[0] - !b->allocator[0];
	return strcmp(a->allocator, b->allocator);
}

const struct top_key top_keys[] = {
	{ "resident", false, false, by_resident },
	{ "virtual", false, false, by_virtual },
	{ "swap", false, false, by_swap },
	{ "growth", false, false, by_growth },
	{ "threads", false, false, by_threads },
	{ "pid", false, false, by_id },
	{ "name", false, false, by_name },
	{ "container", false, false, by_container },
	{ "allocator", true, false, by_allocator },
	{ "unnamed", true, false, by_unnamed },
	{ "pss", false, true, by_pss },
};
const size_t top_n_keys = ARRAY_SIZE(top_keys);

const struct top_key *top_find_key(const char *name)
{
	for (size_t i = 0; i < top_n_keys; i++) {
		if (!strcmp(top_keys[i].name, name))
			return &top_keys[i];
	}
	return NULL;
}

static int by_key(const void *a, const void *b, void *key)
{
	int r = ((const struct top_key *)key)->compare(a, b);

	return r ? r : by_pid(a, b);
}

void top_sort(struct top *t, const struct top_key *key)
{
	if (t->n_rows)
		qsort_r(t->rows, t->n_rows, sizeof(*t->rows), by_key, (void *)key);
}
