/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Processes side by side, a row each. The surprising rule: there are two costs.
 * top_read() reads /proc/PID/stat, status and cgroup, which is some 0.1 ms a
 * process, needs no privilege and gives the kernel's own counters. What only a
 * look into the process tells (allocator, unnamed bytes: its ladder; PSS) is
 * read by top_look() for the rows that are shown, and only while there is time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum { TOP_NAME_BYTES = 64, TOP_ALLOCATOR_BYTES = 64, TOP_CONTAINER_BYTES = 80 };

/* Figures that are not known are -1. */
struct top_row {
	pid_t pid, ns_pid;    /* ns_pid: as the process sees itself */
	uint64_t start_ticks; /* with the pid: which process */
	uid_t uid;
	char name[TOP_NAME_BYTES];           /* any bytes */
	char container[TOP_CONTAINER_BYTES]; /* its whole id; "": none */
	int64_t n_threads;
	int64_t virtual_bytes, resident_bytes, swap_bytes; /* VmSize, VmRSS, VmSwap */
	int64_t anon_bytes, file_bytes, shmem_bytes;       /* of resident */
	double growth_bytes_s;                             /* of resident; top_grow() */
	bool has_growth;
	/* top_look() */
	bool was_looked_at, is_denied;
	char allocator[TOP_ALLOCATOR_BYTES]; /* with the most resident bytes: "glibc"; "": none */
	int64_t allocator_bytes, unnamed_bytes, pss_bytes;
};

struct top {
	struct top_row *rows;
	size_t n_rows, cap_rows;
	size_t n_gone;   /* ended while we looked */
	size_t n_hidden; /* /proc shows us nothing of them (hidepid) */
	size_t n_kernel; /* kernel threads and zombies: no memory of their own */
	uint64_t at_ns;  /* clock_now_ns() when it was read */
};
void top_clear(struct top *t); /* { 0 } is empty */

/* Of these processes, by pid. */
int top_read(const pid_t *pids, size_t n, struct top *ret, struct error *err);

/* Growth of each row since @before. */
void top_grow(struct top *now, const struct top *before);

/* What rows can be sorted by. */
struct top_key {
	const char *name; /* "resident" */
	bool needs_look;  /* its figures come from top_look() */
	bool needs_pss;
	int (*compare)(const struct top_row *a, const struct top_row *b);
};
extern const struct top_key top_keys[];
extern const size_t top_n_keys;
const struct top_key *top_find_key(const char *name); /* NULL: no such key */
/* Numbers: largest first. Names: in their order. Equal ones by pid. */
void top_sort(struct top *t, const struct top_key *key);

/* Look into the first @n rows, until @budget_ns is over (0: however long it
 * takes). Those that we may not look at get is_denied. */
int top_look(struct top *t, size_t n, uint64_t budget_ns, bool ladder, bool pss, struct error *err);
