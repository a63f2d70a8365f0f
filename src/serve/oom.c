/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/oom.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "target/proc.h"

enum {
	MAX_CPUS = 4096,
	MAX_FORMAT = 65536,
	VICTIMS = 64,      /* that are remembered */
	RING_BYTES = 4096, /* behind the page of its head: 50 victims in 100 ms on one CPU */
};

static const uint64_t REMEMBER_NS = 10000000000;
static const uint64_t FIRST_PID_NAMESPACE = 0xeffffffc; /* PROC_PID_INIT_INO */

struct ring {
	int fd;
	struct perf_event_mmap_page *head; /* the data follow behind a page */
};

struct oom {
	struct ring *rings;
	size_t n;
	size_t page_bytes;
	uint32_t offset; /* of the pid */
	struct victim {
		pid_t pid;
		uint64_t when_ns;
	} victims[VICTIMS];
	uint64_t count;
};

/* "	field:int pid;	offset:8;	size:4;	signed:1;" */
bool oom_parse_format(const char *text, uint64_t *id, uint32_t *offset)
{
	const char *id_at = strstr(text, "\nID: "), *pid_at = strstr(text, "field:int pid;");
	const char *offset_at = pid_at ? strstr(pid_at, "offset:") : NULL;

	if (!id_at || !offset_at || memchr(pid_at, '\n', (size_t)(offset_at - pid_at)))
		return false;
	*id = strtoull(id_at + strlen("\nID: "), NULL, 10);
	*offset = (uint32_t)strtoul(offset_at + strlen("offset:"), NULL, 10);
	return *id && *offset && *offset < RING_BYTES / 2;
}

static bool read_format(uint64_t *id, uint32_t *offset)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		cleanup_free char *text = NULL;
		char path[128];

		snprintf(path, sizeof(path), "%s/events/oom/mark_victim/format", places[i]);
		if (proc_read(AT_FDCWD, path, MAX_FORMAT, &text, NULL) == 0)
			return oom_parse_format(text, id, offset);
	}
	return false;
}

static bool sees_all_pids(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == FIRST_PID_NAMESPACE;
}

/* False: no such CPU, or no right. */
static bool open_ring(struct oom *o, uint64_t id, int cpu)
{
	struct perf_event_attr a = { .type = PERF_TYPE_TRACEPOINT,
		                     .size = sizeof(a),
		                     .config = id,
		                     .sample_period = 1,
		                     .sample_type = PERF_SAMPLE_RAW };
	cleanup_close int fd = (int)syscall(SYS_perf_event_open, &a, -1, cpu, -1,
	                                    PERF_FLAG_FD_CLOEXEC);
	void *head;

	if (fd < 0)
		return false;
	head = mmap(NULL, o->page_bytes + RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (head == MAP_FAILED)
		return false;
	o->rings[o->n++] = (struct ring){ .fd = take_fd(fd), .head = head };
	return true;
}

struct oom *oom_open(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct oom *o = calloc(1, sizeof(*o));
	uint64_t id;

	if (cpus > MAX_CPUS)
		cpus = MAX_CPUS;
	if (o)
		o->rings = calloc((size_t)(cpus > 0 ? cpus : 1), sizeof(*o->rings));
	if (!o || !o->rings)
		return oom_close(o);
	o->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	if (o->page_bytes > RING_BYTES || !sees_all_pids() || !read_format(&id, &o->offset))
		return oom_close(o);
	/* one that is offline has none, and is left out */
	for (int cpu = 0; cpu < cpus; cpu++)
		open_ring(o, id, cpu);
	return o->n ? o : oom_close(o);
}

struct oom *oom_close(struct oom *o)
{
	if (!o)
		return NULL;
	for (size_t i = 0; i < o->n; i++) {
		munmap(o->rings[i].head, o->page_bytes + RING_BYTES);
		close(o->rings[i].fd);
	}
	free(o->rings);
	free(o);
	return NULL;
}

static void note(struct oom *o, pid_t pid)
{
	o->victims[o->count++ % VICTIMS] = (struct victim){ pid, clock_now_ns() };
}

/* @n bytes of the ring at @at, which may go round its end. */
static void copy(const char *data, uint64_t at, void *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((char *)to)[i] = data[(at + i) % RING_BYTES];
}

static void take_ring(struct oom *o, struct ring *r)
{
	const char *data = (const char *)r->head + o->page_bytes;
	uint64_t end = __atomic_load_n(&r->head->data_head, __ATOMIC_ACQUIRE);
	uint64_t at = r->head->data_tail;

	while (at < end && end - at <= RING_BYTES) {
		struct perf_event_header h;
		int32_t pid;

		copy(data, at, &h, sizeof(h));
		if (h.size < sizeof(h))
			break;
		/* behind the header: the length of what the tracepoint has, then that */
		if (h.type == PERF_RECORD_SAMPLE &&
		    h.size >= sizeof(h) + sizeof(uint32_t) + o->offset + sizeof(pid)) {
			copy(data, at + sizeof(h) + sizeof(uint32_t) + o->offset, &pid,
			     sizeof(pid));
			note(o, pid);
		}
		at += h.size;
	}
	__atomic_store_n(&r->head->data_tail, end, __ATOMIC_RELEASE);
}

void oom_run(struct oom *o)
{
	for (size_t i = 0; o && i < o->n; i++)
		take_ring(o, &o->rings[i]);
}

bool oom_has_killed(const struct oom *o, pid_t pid)
{
	uint64_t now = clock_now_ns();

	for (size_t i = 0; o && i < VICTIMS; i++) {
		const struct victim *v = &o->victims[i];

		if (v->pid == pid && v->when_ns && now - v->when_ns < REMEMBER_NS)
			return true;
	}
	return false;
}

uint64_t oom_count(const struct oom *o)
{
	return o ? o->count : 0;
}
