/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a memory cgroup is charged for: every byte of memory.current (v2) or
 * memory.usage_in_bytes (v1) in a row. The surprising rule: the rows' sum IS
 * that number, because the last row, "not accounted", is the difference. The
 * kernel charges in batches per cpu and counts in others; that row is small,
 * may be below 0, and is said, not hidden.
 *
 * A cgroup's figures include those of the cgroups below it. File pages and
 * shared memory are charged to the cgroup that touched them first, whoever uses
 * them now.
 *
 * Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst,
 * mm/memcontrol.c and mm/memcontrol-v1.c of Linux 6.1 and 6.18.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "profile/report.h"
#include "target/memory_cgroup.h"

enum { CGROUP_MAX_ROWS = 14, CGROUP_EVIDENCE_BYTES = 200 };

struct cgroup_row {
	const char *name; /* static: "anon", "file cache", "shmem", ... */
	int64_t bytes;
	int64_t reclaimable_bytes; /* of these: what the kernel can take back without swap */
	char evidence[CGROUP_EVIDENCE_BYTES];
};

/* What all processes of the cgroup say of themselves (/proc/PID/status). Memory
 * that several share counts once for each. */
struct cgroup_processes {
	uint64_t n, n_threads, n_unreadable;
	uint64_t anon_bytes, file_bytes, shmem_bytes, page_table_bytes;
};

struct cgroup {
	struct memory_cgroup place;
	uint64_t current_bytes;
	uint64_t peak_bytes;       /* 0: this kernel doesn't say */
	uint64_t limit_bytes;      /* lowest of it and those above; UINT64_MAX: none */
	char limit_path[PATH_MAX]; /* whose limit it is; "" above what is seen here */
	uint64_t high_bytes;       /* v2: throttled above it; UINT64_MAX: none */
	uint64_t swap_bytes;       /* not in current_bytes */
	uint64_t active_file_bytes, inactive_file_bytes;
	uint64_t oom_kills, limit_hits; /* since it was made */
	struct cgroup_processes processes;
	struct cgroup_row rows[CGROUP_MAX_ROWS];
	size_t n_rows;
};

/* The texts of a cgroup's files; NULL for one that is not there. */
struct cgroup_texts {
	const char *stat;    /* memory.stat */
	const char *current; /* memory.current, memory.usage_in_bytes */
	const char *kernel;  /* v1: memory.kmem.usage_in_bytes */
	bool is_flat;        /* v1: memory.use_hierarchy is 0 */
};

/* The rows from these texts and ret->processes; fills the figures that they
 * have. -EINVAL: not such texts. */
int cgroup_divide(const struct cgroup_texts *texts, struct cgroup *ret, struct error *err);

/* Read all of the cgroup at @place. -ENOENT when it was removed. */
int cgroup_read(const struct memory_cgroup *place, struct cgroup *ret, struct error *err);

/* The cgroup that the words of a command line mean ("cgroup:PATH",
 * "container:ID"), else that of all the processes; 1 found, 0 none (they are in
 * several, in the root, or no controller is to be seen). */
int cgroup_find(char *const *words, size_t n_words, const pid_t *pids, size_t n_pids,
                struct memory_cgroup *ret, struct error *err);

/*
 * Into a ladder's report: the table
 *   cgroup    name bytes reclaimable evidence
 * the figures cgroup_bytes, cgroup_limit_bytes (not there: no limit), cgroup_path
 * and so on, and what is to be said of it, into the table "findings".
 */
int cgroup_report(const struct cgroup *c, struct report *to, struct error *err);

/* All of it: find, read, report. No error where there is no such cgroup. */
int cgroup_report_target(char *const *words, size_t n_words, const pid_t *pids, size_t n_pids,
                         struct report *to, struct error *err);
