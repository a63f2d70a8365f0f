/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How many pages of a range are really there, counted from page tables:
 * PAGEMAP_SCAN (Linux 6.7), else /proc/PID/pagemap. Nothing is read from the
 * memory itself. The surprising rule: the shared zero page, which a read of an
 * untouched page maps, is present but not resident, and is counted apart.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/target.h"

struct pages_count {
	uint64_t resident_bytes; /* zero page not included; huge pages whole */
	uint64_t zero_bytes;     /* the shared zero page; 0 without PAGEMAP_SCAN: then doubtful */
	uint64_t swap_bytes;
	uint64_t file_bytes; /* of resident: page cache or shared memory */
	uint64_t huge_bytes; /* of resident: mapped by huge pages */
	/* Of resident: anonymous and not this process's alone. Either shared since a fork, or a
	 * zero page that the kernel does not tell apart (the huge one: older kernels; any: without
	 * PAGEMAP_SCAN); smaps does. */
	uint64_t doubtful_bytes;
};

/* Of [@start, @end). Need not be page-aligned: of a page that is only partly in the range,
 * these bytes are counted. -ESRCH: has ended, or runs another program meanwhile. */
int pages_count(const struct target *t, uint64_t start, uint64_t end, struct pages_count *ret,
                struct error *err);
/* The same for many ranges, ascending and disjoint, in few calls: 60,000 mappings in one second. */
struct pages_range {
	uint64_t start, end;
	struct pages_count count;
};
int pages_count_all(const struct target *t, struct pages_range *ranges, size_t n,
                    struct error *err);

/* Call @fn for each run of resident pages in the ranges (ascending and
 * disjoint), ascending; @huge: mapped by huge pages. A run may be told in
 * several parts. @fn's -errno ends it. */
int pages_each(const struct target *t, struct pages_range *ranges, size_t n,
               int (*fn)(void *arg, uint64_t start, uint64_t end, bool huge), void *arg,
               struct error *err);
