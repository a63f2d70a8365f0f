/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Questions to /proc/PID/pagemap and /proc/PID/maps that are newer than the
 * headers which we may be built with. */

#include <linux/ioctl.h>
#include <stdint.h>

/* Linux 6.7, include/uapi/linux/fs.h (struct page_region, pm_scan_arg, PAGE_IS_*). */
struct pm_region {
	uint64_t start, end, categories;
};
struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PM_SCAN _IOWR('f', 16, struct pm_scan)
enum pm_category {
	PM_FILE = 1 << 2,
	PM_PRESENT = 1 << 3,
	PM_SWAPPED = 1 << 4,
	PM_PFNZERO = 1 << 5,
	PM_HUGE = 1 << 6,
};

/* Linux 6.11, include/uapi/linux/fs.h (struct procmap_query). */
struct pm_query {
	uint64_t size, flags, addr;
	uint64_t vma_start, vma_end, vma_flags, page_size, offset, inode;
	uint32_t dev_major, dev_minor, name_size, build_id_size;
	uint64_t name_addr, build_id_addr;
};
#define PM_QUERY _IOWR('f', 17, struct pm_query)
