/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The ladder: every byte of a process's virtual memory in exactly one row with
 * a proven owner, or in the row "unnamed". The surprising rule: the columns are
 * not a funnel. What an allocator has in use need not have been touched, so
 * "in use" can be above "resident" in a row.
 *
 * Virtual bytes of the parts add up to virtual_bytes, which is the sum of the
 * mappings that were read (VmSize; [vsyscall] is none of it). Resident bytes
 * come from page tables; VmRSS, which the kernel keeps in batches, stands
 * beside them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "profile/profile.h"
#include "runtime/regions.h"
#include "symbol/symbol.h"
#include "target/target.h"

struct ladder_options {
	bool stop; /* the target stands still while it is read (target/freeze.h) */
	bool pss;  /* read smaps: PSS, swap share, locked, huge pages of each row; dear */
};

/* A row: a heap of a runtime, or what maps alone tells. The address space is
 * divided among the parts; one part has any number of ranges. */
struct ladder_part {
	struct regions_heap heap; /* kind, name, detail, evidence, in use, figures */
	uint64_t virtual_bytes, resident_bytes, swap_bytes;
	uint64_t reserved_bytes;          /* of virtual: PROT_NONE, can't be touched */
	uint64_t huge_bytes;              /* of resident: huge pages */
	uint64_t file_bytes;              /* of resident: page cache, shared memory */
	uint64_t pss_bytes, locked_bytes; /* with options.pss; else 0 */
	uint64_t n_ranges;
	char path[512]; /* files and shared memory: as the target sees it */
};

struct ladder_range {
	uint64_t start, end;
	uint32_t part;
};

struct ladder {
	pid_t pid, ns_pid;
	char comm[64]; /* of the process; any bytes */
	struct ladder_part
		*parts; /* by virtual bytes within a kind; kinds in the order of the list */
	size_t n_parts, cap_parts;
	struct ladder_range *ranges; /* by address, each byte of the mappings once */
	size_t n_ranges, cap_ranges;
	struct regions_finding *findings;
	size_t n_findings, cap_findings;

	uint64_t virtual_bytes, resident_bytes, swap_bytes, unnamed_bytes, pss_bytes;
	uint64_t vm_size_bytes, vm_rss_bytes; /* the kernel's own counters */
	uint64_t page_table_bytes, locked_bytes, hugetlb_bytes, zero_page_bytes;
	uint64_t overlap_bytes; /* claimed twice by runtimes: 0 unless something is wrong */
	uint64_t stopped_ns;    /* with options.stop: how long it stood still */
};
void ladder_clear(struct ladder *l); /* { 0 } is empty */

int ladder_read(const struct target *t, struct symbol_space *space, const struct ladder_options *o,
                struct ladder *ret, struct error *err);
const struct ladder_range *ladder_find(const struct ladder *l, uint64_t addr); /* NULL: none */

/*
 * As a profile with the value types virtual_bytes, resident_bytes (default),
 * pss_bytes, swap_bytes, in_use_bytes; a sample is one part, its stack (leaf
 * first) name, kind. The report has "result" = "ladder", the figures
 * virtual_bytes, resident_bytes, unnamed_bytes, ..., and the tables
 *   parts     kind name virtual_bytes resident_bytes in_use_bytes cached_bytes evidence
 *             swap_bytes pss_bytes reserved_bytes huge_bytes ranges detail inside
 *             unknown_why figures checked inconsistent path file_bytes locked_bytes pid
 *             (figures: "dirty_bytes=4096 retained_bytes=0 ..."; an unknown in_use_bytes is -1)
 *   findings  key text evidence remedy bytes
 *   next      command
 * Several ladders add up: parts of a later one get the label pid.
 */
int ladder_profile(const struct ladder *ladders, size_t n, struct profile **ret, struct error *err);
/* A row of the table "findings". */
int ladder_profile_finding(struct report *to, const struct regions_finding *f, struct error *err);
