/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "base/pagemap.h"
#include "target/permission.h"

enum {
	SCAN_REGIONS = 1 << 14, /* answers taken at once */
	READ_ENTRIES = 1 << 16, /* pagemap entries read at once */
	NEAR = 1 << 20,         /* reading a smaller hole costs less than a system call */
	HUGE_STEP = 1 << 21,    /* no anonymous huge page is smaller */
};

enum { PM_DOUBT = 1 << 30 }; /* ours, beside the kernel's categories */

/* Documentation/admin-guide/mm/pagemap.rst */
#define ENTRY_EXCLUSIVE (1ull << 56)
#define ENTRY_FILE      (1ull << 61)
#define ENTRY_SWAPPED   (1ull << 62)
#define ENTRY_PRESENT   (1ull << 63)

struct walk {
	int fd;
	uint64_t page;
	struct pages_range *ranges;
	size_t n, at;  /* ranges before this one have been passed */
	uint64_t told; /* by_scan(): up to here */
	/* pages_each(): instead of counting */
	int (*fn)(void *arg, uint64_t start, uint64_t end, bool huge);
	void *arg;
	int failed;
};

/* Of a huge page that belongs to nobody alone we can't tell here what it is:
 * shared since a fork, or the huge zero page, which kernels before the fix of
 * 2025 (is_zero_pfn() of a pmd, fs/proc/task_mmu.c) show like any other. */
static bool is_doubtful(const struct walk *w, uint64_t addr)
{
	uint64_t entry;

	return pread(w->fd, &entry, sizeof(entry), (off_t)(addr / w->page * 8)) == sizeof(entry) &&
	       (entry & ENTRY_PRESENT) && !(entry & ENTRY_EXCLUSIVE);
}

static uint64_t doubtful_bytes(const struct walk *w, uint64_t start, uint64_t end)
{
	uint64_t bytes = 0;

	while (start < end) {
		uint64_t next = (start / HUGE_STEP + 1) * HUGE_STEP;

		next = next < end ? next : end;
		bytes += is_doubtful(w, start) ? next - start : 0;
		start = next;
	}
	return bytes;
}

static void add(const struct walk *w, struct pages_count *to, uint64_t start, uint64_t end,
                uint64_t categories)
{
	uint64_t bytes = end - start;

	if (categories & PM_SWAPPED) {
		to->swap_bytes += bytes;
		return;
	}
	if (categories & PM_PFNZERO) {
		to->zero_bytes += bytes;
		return;
	}
	to->resident_bytes += bytes;
	to->file_bytes += categories & PM_FILE ? bytes : 0;
	to->huge_bytes += categories & PM_HUGE ? bytes : 0;
	if (categories & PM_DOUBT)
		to->doubtful_bytes += bytes;
	else if ((categories & PM_HUGE) && !(categories & PM_FILE))
		to->doubtful_bytes += doubtful_bytes(w, start, end);
}

static void tell(struct walk *w, uint64_t start, uint64_t end, uint64_t categories)
{
	if (!w->failed && !(categories & (PM_SWAPPED | PM_PFNZERO)))
		w->failed = w->fn(w->arg, start, end, categories & PM_HUGE);
}

/* A run of equal pages, to the ranges that it lies in. Runs come ascending. */
static void distribute(struct walk *w, const struct pm_region *run)
{
	while (w->at < w->n && w->ranges[w->at].end <= run->start)
		w->at++;
	for (size_t i = w->at; i < w->n && w->ranges[i].start < run->end; i++) {
		struct pages_range *r = &w->ranges[i];
		uint64_t from = r->start > run->start ? r->start : run->start;
		uint64_t to = r->end < run->end ? r->end : run->end;

		if (from < to && w->fn)
			tell(w, from, to, run->categories);
		else if (from < to)
			add(w, &r->count, from, to, run->categories);
	}
}

/* From *@start on, as far as @regions reach; *start is where the next one begins. */
static int scan_some(struct walk *w, uint64_t *start, uint64_t end, struct pm_region *regions)
{
	struct pm_scan arg = {
		.size = sizeof(arg),
		.start = *start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = SCAN_REGIONS,
		.category_anyof_mask = PM_PRESENT | PM_SWAPPED,
		.return_mask = PM_FILE | PM_PRESENT | PM_SWAPPED | PM_PFNZERO | PM_HUGE,
	};
	int n;

	do
		n = ioctl(w->fd, PM_SCAN, &arg);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* walk_end is where the kernel's own small buffer was last full, even if the walk went on
	 * to the end (6.7 to 6.18): what was told already comes again then */
	for (int i = 0; i < n; i++) {
		if (regions[i].start < w->told)
			regions[i].start = w->told;
		if (regions[i].start < regions[i].end) {
			distribute(w, &regions[i]);
			w->told = regions[i].end;
		}
	}
	*start = arg.walk_end > *start ? arg.walk_end : end;
	return 0;
}

/* The kernel skips what is not mapped by itself, so one walk does for all ranges. */
static int by_scan(struct walk *w)
{
	cleanup_free struct pm_region *regions = malloc(SCAN_REGIONS * sizeof(*regions));
	uint64_t start = w->ranges[0].start / w->page * w->page;
	uint64_t end = (w->ranges[w->n - 1].end + w->page - 1) / w->page * w->page;
	int r = 0;

	if (!regions)
		return -ENOMEM;
	if (!feature_allowed("pagemap_scan"))
		return -ENOTTY;
	while (r == 0 && start < end)
		r = scan_some(w, &start, end, regions);
	return r;
}

/* Without PAGEMAP_SCAN the zero page can't be told from any other either. */
static uint64_t entry_categories(uint64_t entry)
{
	bool is_doubtful_page = (entry & ENTRY_PRESENT) &&
	                        !(entry & (ENTRY_FILE | ENTRY_EXCLUSIVE));

	return (is_doubtful_page ? PM_DOUBT : 0) | (entry & ENTRY_PRESENT ? PM_PRESENT : 0) |
	       (entry & ENTRY_SWAPPED ? PM_SWAPPED : 0) | (entry & ENTRY_FILE ? PM_FILE : 0);
}

static void distribute_entries(struct walk *w, uint64_t start, const uint64_t *entries, size_t n)
{
	struct pm_region run = { .start = start, .end = start };

	for (size_t i = 0; i <= n; i++) {
		uint64_t categories = i < n ? entry_categories(entries[i]) : 0;

		if (i == n || categories != run.categories) {
			if (run.categories & (PM_PRESENT | PM_SWAPPED))
				distribute(w, &run);
			run = (struct pm_region){ run.end, run.end, categories };
		}
		run.end += w->page;
	}
}

static int read_span(struct walk *w, uint64_t start, uint64_t end, uint64_t *entries)
{
	start = start / w->page * w->page;
	end = (end + w->page - 1) / w->page * w->page;
	while (start < end) {
		uint64_t want = (end - start) / w->page;
		ssize_t n;

		want = want < READ_ENTRIES ? want : READ_ENTRIES;
		n = pread(w->fd, entries, want * 8, (off_t)(start / w->page * 8));
		if (n < 0)
			return -errno;
		if (n < 8) /* an address space that is gone reads as empty */
			return -ESRCH;
		distribute_entries(w, start, entries, (size_t)n / 8);
		start += (uint64_t)n / 8 * w->page;
	}
	return 0;
}

/* Eight bytes a page, holes too: ranges that are near each other in one read. */
static int by_entries(struct walk *w)
{
	cleanup_free uint64_t *entries = malloc(READ_ENTRIES * sizeof(*entries));
	int r = 0;

	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < w->n;) {
		uint64_t start = w->ranges[i].start, end = w->ranges[i].end;

		for (i++; i < w->n && w->ranges[i].start < end + NEAR; i++)
			end = w->ranges[i].end;
		r = read_span(w, start, end, entries);
	}
	return r;
}

static void forget(struct pages_range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ranges[i].count = (struct pages_count){ 0 };
}

static int count(struct walk *w)
{
	int r = by_scan(w);

	if (r != -ENOTTY && r != -EINVAL)
		return r;
	forget(w->ranges, w->n);
	w->at = 0;
	return by_entries(w);
}

static int explain(const struct target *t, int r, struct error *err)
{
	switch (r) {
	case -EACCES:
	case -EPERM: return permission_explain(t->pid, t->proc_fd, PERMISSION_READ, -r, err);
	case -ENOMEM: return error_oom(err);
	case -ENOENT:
		if (target_alive(t) == 0)
			return error_set(err, ENOTSUP,
			                 "this kernel does not say which pages are there "
			                 "(/proc/PID/pagemap is missing)");
		/* fall through */
	case -ESRCH: return error_set(err, ESRCH, "process %d (%s) has ended", t->pid, t->comm);
	default: return error_sys(err, -r, "/proc/%d/pagemap", t->pid);
	}
}

static int walk(const struct target *t, struct walk *w, struct error *err)
{
	cleanup_close int fd = openat(t->proc_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return explain(t, -errno, err);
	w->fd = fd;
	w->page = (uint64_t)sysconf(_SC_PAGESIZE);
	forget(w->ranges, w->n);
	r = w->n ? count(w) : 0;
	return r < 0 ? explain(t, r, err) : 0;
}

int pages_count_all(const struct target *t, struct pages_range *ranges, size_t n, struct error *err)
{
	struct walk w = { .ranges = ranges, .n = n };

	return walk(t, &w, err);
}

int pages_each(const struct target *t, struct pages_range *ranges, size_t n,
               int (*fn)(void *arg, uint64_t start, uint64_t end, bool huge), void *arg,
               struct error *err)
{
	struct walk w = { .ranges = ranges, .n = n, .fn = fn, .arg = arg };
	int r = walk(t, &w, err);

	if (r == 0 && w.failed == -ENOMEM)
		return error_oom(err);
	return r < 0 || !w.failed ? r : error_sys(err, -w.failed, "page tables");
}

int pages_count(const struct target *t, uint64_t start, uint64_t end, struct pages_count *ret,
                struct error *err)
{
	struct pages_range range = { .start = start, .end = end };
	int r = pages_count_all(t, &range, 1, err);

	if (r == 0)
		*ret = range.count;
	return r;
}
