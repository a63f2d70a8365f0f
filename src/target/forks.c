/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/forks.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/feature.h"

enum {
	RING_BYTES = 64 * 1024, /* some 700 forks on one processor */
	MAX_CPUS = 4096,
	MAX_RECORD = 512,
};

#define SETTLE_NS 1000000ull /* a record has its time before it is in the ring */

struct ring {
	int fd;
	uint8_t *base; /* the page of the heads, then RING_BYTES */
};

struct forks {
	struct ring *rings;
	size_t n_rings, cap_rings;
	struct forks_event *events;
	size_t n_events, cap_events;
	uint64_t lost;
	size_t page;
};

/* Heads of the two records, and what sample_id_all puts behind them (perf_event_open(2)):
 * only the time is asked for. */
struct fork_record {
	struct perf_event_header head;
	uint32_t pid, ppid, tid, ptid;
	uint64_t time;
};

struct comm_record {
	struct perf_event_header head;
	uint32_t pid, tid;
};

/* ---- opening ---- */

static int open_event(int cpu)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_SW_DUMMY,
		.sample_type = PERF_SAMPLE_TIME,
		.sample_id_all = 1,
		.task = 1,
		.comm = 1,
		.comm_exec = 1,
		.exclude_kernel = 1,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};

	return (int)syscall(SYS_perf_event_open, &a, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static int add_ring(struct forks *f, int fd, struct error *err)
{
	void *base = mmap(NULL, f->page + RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED || array_reserve(&f->rings, &f->cap_rings, f->n_rings + 1, err)) {
		int r = error_sys(err, errno, "a buffer for the kernel's events of forks");

		if (base != MAP_FAILED)
			munmap(base, f->page + RING_BYTES);
		close(fd);
		return r;
	}
	f->rings[f->n_rings++] = (struct ring){ fd, base };
	return 0;
}

/* One for each processor that is there; of those that are off, ENODEV. */
static int open_all(struct forks *f, struct error *err)
{
	const long n = sysconf(_SC_NPROCESSORS_CONF);
	int r = 0;

	for (int cpu = 0; r == 0 && cpu < n && cpu < MAX_CPUS; cpu++) {
		const int fd = open_event(cpu);

		if (fd >= 0)
			r = add_ring(f, fd, err);
		else if (errno != ENODEV)
			r = error_sys(err, errno, "the kernel's events of forks");
	}
	if (r == 0 && !f->n_rings)
		r = error_set(err, ENODEV, "the kernel's events of forks: no processor");
	return r;
}

int forks_open(struct forks **ret, struct error *err)
{
	cleanup(forks_closep) struct forks *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return error_oom(err);
	if (!feature_allowed("fork_events"))
		return error_set(err, EPERM, "the kernel's events of forks: MEMWHO_WITHOUT");
	f->page = (size_t)sysconf(_SC_PAGESIZE);
	r = open_all(f, err);
	if (r == 0)
		*ret = take_ptr(f);
	return r;
}

struct forks *forks_close(struct forks *f)
{
	if (!f)
		return NULL;
	for (size_t i = 0; i < f->n_rings; i++) {
		munmap(f->rings[i].base, f->page + RING_BYTES);
		close(f->rings[i].fd);
	}
	free(f->rings);
	free(f->events);
	free(f);
	return NULL;
}

void forks_closep(struct forks **f)
{
	*f = forks_close(*f);
}

/* ---- reading ---- */

static void copy_out(const uint8_t *data, uint64_t at, void *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = data[(at + i) % RING_BYTES];
}

/* @r: a whole record of @r->size bytes. False: it is none of ours. */
static bool parse(struct forks *f, const uint8_t *r, struct forks_event *ret)
{
	const struct perf_event_header *head = (const void *)r;
	struct fork_record fork;
	struct comm_record comm;

	if (head->type == PERF_RECORD_FORK && head->size >= sizeof(fork)) {
		memcpy(&fork, r, sizeof(fork));
		*ret = (struct forks_event){ FORKS_FORK, (pid_t)fork.pid, (pid_t)fork.ppid,
			                     fork.time };
		/* not a thread */
		return fork.pid != fork.ppid && (pid_t)fork.pid > 0;
	}
	if (head->type == PERF_RECORD_COMM && (head->misc & PERF_RECORD_MISC_COMM_EXEC) &&
	    head->size >= sizeof(comm) + sizeof(uint64_t)) {
		memcpy(&comm, r, sizeof(comm));
		*ret = (struct forks_event){ FORKS_EXEC, (pid_t)comm.pid, 0, 0 };
		memcpy(&ret->time_ns, r + head->size - sizeof(uint64_t), sizeof(uint64_t));
		return (pid_t)comm.pid > 0;
	}
	if (head->type == PERF_RECORD_LOST && head->size >= sizeof(*head) + 2 * sizeof(uint64_t)) {
		uint64_t n;

		memcpy(&n, r + sizeof(*head) + sizeof(uint64_t), sizeof(n));
		f->lost += n;
	}
	return false;
}

static int add_event(struct forks *f, const struct forks_event *e, struct error *err)
{
	int r = array_reserve(&f->events, &f->cap_events, f->n_events + 1, err);

	if (r == 0)
		f->events[f->n_events++] = *e;
	return r;
}

static int read_ring(struct forks *f, const struct ring *ring, struct error *err)
{
	struct perf_event_mmap_page *page = (void *)ring->base;
	const uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = page->data_tail;
	int r = 0;

	while (r == 0 && head - tail >= sizeof(struct perf_event_header) &&
	       head - tail <= RING_BYTES) {
		_Alignas(8) uint8_t record[MAX_RECORD];
		struct perf_event_header h;
		struct forks_event e;

		copy_out(ring->base + f->page, tail, &h, sizeof(h));
		if (h.size < sizeof(h) || h.size > head - tail)
			break;
		if (h.size <= sizeof(record)) {
			copy_out(ring->base + f->page, tail, record, h.size);
			if (parse(f, record, &e))
				r = add_event(f, &e, err);
		}
		tail += h.size;
	}
	__atomic_store_n(&page->data_tail, r < 0 ? tail : head, __ATOMIC_RELEASE);
	return r;
}

static int compare_times(const void *a, const void *b)
{
	const struct forks_event *x = a, *y = b;

	return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

int forks_read(struct forks *f, void (*found)(void *arg, const struct forks_event *e), void *arg,
               struct error *err)
{
	const uint64_t until = clock_now_ns() - SETTLE_NS;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->n_rings; i++)
		r = read_ring(f, &f->rings[i], err);
	if (f->n_events)
		qsort(f->events, f->n_events, sizeof(*f->events), compare_times);
	for (; n < f->n_events && f->events[n].time_ns <= until; n++)
		found(arg, &f->events[n]);
	f->n_events -= n;
	if (n)
		memmove(f->events, f->events + n, f->n_events * sizeof(*f->events));
	return r;
}

uint64_t forks_lost(const struct forks *f)
{
	return f->lost;
}
