/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/feature.h"
#include "base/pagemap.h"
#include "target/maps.h"
#include "target/permission.h"

enum {
	WINDOW_PAGES = 64, /* one bit each in struct window */
	N_WINDOWS = 256,
	FRESH_NS = 2000000,
	/* of what stands still */
	N_STILL_WINDOWS = 1 << 14, /* 4 GiB */
	BLOCK = 8,                 /* windows asked for at once: one page table */
	SCAN_PAGES = 1 << 16,      /* pagemap entries read at once in a sparse range */
};

/* Documentation/admin-guide/mm/pagemap.rst: bit 63 of an entry. */
#define PAGEMAP_PRESENT (1ull << 63)

struct window {
	uint64_t addr, present, asked_ns; /* asked_ns 0: never */
};

/* Both fds hold the address space that the process had when they were opened;
 * after exec they read as empty and are opened again. */
struct reader_state {
	int pagemap_fd, mem_fd, maps_fd;
	uint64_t page;
	bool no_scan, no_query; /* the kernel has no such ioctl */
	bool is_still;          /* what is present stays so */
	struct window *windows; /* n_windows, a power of two; owned */
	size_t n_windows;
};

static void close_fds(struct reader_state *s)
{
	int *fds[] = { &s->pagemap_fd, &s->mem_fd, &s->maps_fd };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

void reader_state_free(struct reader_state *s)
{
	if (!s)
		return;
	close_fds(s);
	free(s->windows);
	free(s);
}

static void reader_state_freep(struct reader_state **s)
{
	reader_state_free(*s);
}

static int open_fds(struct reader_state *s, const struct target *t)
{
	s->pagemap_fd = openat(t->proc_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	if (s->pagemap_fd < 0)
		return errno == ENOENT && target_alive(t) == 0 ? -ENOTSUP : -errno;
	s->mem_fd = openat(t->proc_fd, "mem", O_RDONLY | O_CLOEXEC);
	if (s->mem_fd < 0)
		return -errno;
	s->maps_fd = openat(t->proc_fd, "maps", O_RDONLY | O_CLOEXEC);
	return s->maps_fd < 0 ? -errno : 0;
}

static int reopen(struct reader_state *s, const struct target *t)
{
	int r;

	close_fds(s);
	memset(s->windows, 0, s->n_windows * sizeof(*s->windows));
	r = open_fds(s, t);
	if (r < 0)
		close_fds(s);
	return r == -ENOENT ? -ESRCH : r;
}

/* The target is const for those who read: the state is a cache. */
static int get_state(const struct target *t, struct reader_state **ret)
{
	cleanup(reader_state_freep) struct reader_state *s = NULL;
	int r;

	if (t->reader && t->reader->pagemap_fd >= 0) {
		*ret = t->reader;
		return 0;
	}
	if (t->reader) {
		r = reopen(t->reader, t);
		*ret = t->reader;
		return r;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->pagemap_fd = s->mem_fd = s->maps_fd = -1;
	s->page = sysconf(_SC_PAGESIZE);
	s->is_still = t->stands_still;
	s->n_windows = s->is_still ? N_STILL_WINDOWS : N_WINDOWS;
	s->windows = calloc(s->n_windows, sizeof(*s->windows));
	if (!s->windows)
		return -ENOMEM;
	s->no_scan = !feature_allowed("pagemap_scan");
	s->no_query = !feature_allowed("procmap_query");
	r = reopen(s, t);
	if (r < 0)
		return r;
	((struct target *)t)->reader = *ret = take_ptr(s);
	return 0;
}

/*
 * Present pages of [start, end) as regions; returns how many (>= 0), and where
 * the walk ended in *walk_end. -ENOTTY: no such ioctl.
 */
static int scan(struct reader_state *s, uint64_t start, uint64_t end, struct pm_region *regions,
                size_t n_regions, uint64_t *walk_end)
{
	struct pm_scan arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = n_regions,
		.category_mask = PM_PRESENT,
		.return_mask = PM_PRESENT,
	};
	int n;

	if (s->no_scan)
		return -ENOTTY;
	do
		n = ioctl(s->pagemap_fd, PM_SCAN, &arg);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == ENOTTY || errno == EINVAL)) {
		s->no_scan = true;
		return -ENOTTY;
	}
	*walk_end = arg.walk_end;
	return n < 0 ? -errno : n;
}

static void note_present(const struct reader_state *s, uint64_t start,
                         const struct pm_region *region, uint64_t *bits)
{
	for (uint64_t a = region->start; a < region->end; a += s->page) {
		const uint64_t i = (a - start) / s->page;

		bits[i / WINDOW_PAGES] |= 1ull << i % WINDOW_PAGES;
	}
}

/* pagemap itself: 8 bytes a page. Behind the end of the address space there is
 * nothing to read; an address space that is gone reads as nothing at all. */
static int read_bits(const struct reader_state *s, uint64_t start, size_t n, uint64_t *bits)
{
	uint64_t entries[BLOCK * WINDOW_PAGES];
	ssize_t got = pread(s->pagemap_fd, entries, n * WINDOW_PAGES * 8, start / s->page * 8);

	if (got < 0)
		return errno == EINVAL || errno == EFAULT || errno == EOVERFLOW ? -EFAULT : -errno;
	for (ssize_t i = 0; i < got / 8; i++) {
		if (entries[i] & PAGEMAP_PRESENT)
			bits[i / WINDOW_PAGES] |= 1ull << i % WINDOW_PAGES;
	}
	return 0;
}

/* Which pages of @n windows (at most BLOCK) are present. The scan of an address space that is gone
 * (exec, exit) says ESRCH or finds nothing, as pagemap does: then nothing is present. */
static int ask_windows(struct reader_state *s, uint64_t start, size_t n, uint64_t *bits)
{
	struct pm_region regions[BLOCK * WINDOW_PAGES / 2]; /* every other page */
	uint64_t walk_end;
	const int found = scan(s, start, start + n * WINDOW_PAGES * s->page, regions,
	                       ARRAY_SIZE(regions), &walk_end);

	memset(bits, 0, n * sizeof(*bits));
	if (found == -ENOTTY)
		return read_bits(s, start, n, bits);
	for (int i = 0; i < found; i++)
		note_present(s, start, &regions[i], bits);
	return found < 0 ? found : 0;
}

static struct window *window_of(struct reader_state *s, uint64_t start)
{
	return &s->windows[start / (WINDOW_PAGES * s->page) & (s->n_windows - 1)];
}

/* What is known of the window at @start; NULL: nothing that still holds. */
static const struct window *known(struct reader_state *s, uint64_t start, uint64_t now)
{
	const struct window *w = window_of(s, start);

	return w->asked_ns && w->addr == start && (s->is_still || now - w->asked_ns < FRESH_NS)
	               ? w
	               : NULL;
}

/* Ask about @n windows, of which that at @start is one. */
static int ask_around(struct reader_state *s, uint64_t start, size_t n, uint64_t now)
{
	const uint64_t bytes = WINDOW_PAGES * s->page;
	uint64_t bits[BLOCK];
	int r;

	start -= start / bytes % n * bytes;
	r = ask_windows(s, start, n, bits);
	for (size_t i = 0; r == 0 && i < n; i++, start += bytes)
		*window_of(s, start) = (struct window){ start, bits[i], now };
	return r;
}

/* Are the pages @first to @last (bits of the window at @start) present? Only a
 * yes is believed from the cache: a no costs a question. */
static int present(struct reader_state *s, uint64_t start, uint64_t want)
{
	const uint64_t now = s->is_still ? 1 : clock_now_ns();
	const struct window *w = known(s, start, now);
	int r = -EFAULT; /* the last windows of the address space have no such neighbours */

	if (w && (w->present & want) == want)
		return 0;
	if (s->is_still && !w)
		r = ask_around(s, start, BLOCK, now);
	if (r == -EFAULT)
		r = ask_around(s, start, 1, now);
	if (r < 0)
		return r;
	return (window_of(s, start)->present & want) == want ? 0 : -ENODATA;
}

/* An address space that is gone (exec, exit) reads as empty; else any address
 * has an entry, mapped or not. */
static bool space_is_gone(const struct reader_state *s)
{
	uint64_t entry;

	return pread(s->pagemap_fd, &entry, sizeof(entry), sizeof(entry)) <= 0;
}

/* Why is the page at @addr not present? */
static int miss(struct reader_state *s, uint64_t addr)
{
	struct pm_query q = { .size = sizeof(q), .addr = addr };

	if (space_is_gone(s))
		return -ESRCH;
	if (s->no_query || ioctl(s->maps_fd, PM_QUERY, &q) == 0)
		return -ENODATA;
	if (errno == ENOENT)
		return -EFAULT;
	s->no_query = errno == ENOTTY || errno == EINVAL;
	return -ENODATA;
}

static uint64_t mask(uint64_t first, uint64_t n)
{
	return (n >= 64 ? ~0ull : (1ull << n) - 1) << first;
}

/* Present-check of [addr, addr + len), which lies in one window. */
static int check_piece(struct reader_state *s, uint64_t addr, size_t len)
{
	uint64_t window = WINDOW_PAGES * s->page, start = addr / window * window;
	uint64_t first = (addr - start) / s->page, last = (addr + len - 1 - start) / s->page;
	int r = present(s, start, mask(first, last - first + 1));

	if (r != -ENODATA)
		return r;
	for (uint64_t i = first; i <= last; i++) {
		if (!(window_of(s, start)->present & (1ull << i)))
			return miss(s, start + i * s->page);
	}
	return -ENODATA;
}

static int copy_piece(const struct reader_state *s, uint64_t addr, char *buf, size_t len)
{
	while (len) {
		ssize_t n = pread(s->mem_fd, buf, len, addr);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EIO ? -EFAULT : -errno;
		if (n == 0) /* no address space behind it any more */
			return -ESRCH;
		addr += n;
		buf += n;
		len -= n;
	}
	return 0;
}

static int read_pieces(struct reader_state *s, uint64_t addr, char *buf, size_t len)
{
	uint64_t window = WINDOW_PAGES * s->page;

	while (len) {
		size_t piece = window - addr % window;
		int r;

		if (piece > len)
			piece = len;
		r = check_piece(s, addr, piece);
		if (r == 0)
			r = copy_piece(s, addr, buf, piece);
		if (r < 0)
			return r;
		addr += piece;
		buf += piece;
		len -= piece;
	}
	return 0;
}

int reader_try(const struct target *t, uint64_t addr, void *buf, size_t len)
{
	struct reader_state *s;
	int r = get_state(t, &s);

	if (r < 0)
		return r;
	if (addr + len < addr || addr + len > INT64_MAX)
		return -EFAULT;
	r = read_pieces(s, addr, buf, len);
	if (r != -ESRCH)
		return r;
	r = reopen(s, t); /* another program, perhaps */
	return r < 0 ? r : read_pieces(s, addr, buf, len);
}

static int explain(const struct target *t, int r, uint64_t addr, size_t len, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };

	switch (r) {
	case -EACCES:
	case -EPERM: return permission_explain(t->pid, t->proc_fd, PERMISSION_ATTACH, -r, err);
	case -ESRCH: return error_set(err, ESRCH, "process %d has ended", t->pid);
	case -ENOTSUP:
		error_set(err, ENOTSUP,
		          "this kernel does not say which pages are there (/proc/PID/pagemap is "
		          "missing)");
		return error_hint(err, "without it reading could change the process; the kernel "
		                       "needs CONFIG_PROC_PAGE_MONITOR");
	case -ENODATA:
		if (maps_read(t, &maps, err) < 0)
			return err->code;
		if (maps_find(&maps, addr))
			return error_set(err, ENODATA,
			                 "a page of the %zu bytes at %" PRIx64 " is not in memory",
			                 len, addr);
		/* fall through */
	case -EFAULT:
		return error_set(err, EFAULT, "%zu bytes at %" PRIx64 " can't be read: not mapped",
		                 len, addr);
	default: return error_sys(err, -r, "memory of process %d at %" PRIx64, t->pid, addr);
	}
}

int reader_read(const struct target *t, uint64_t addr, void *buf, size_t len, struct error *err)
{
	int r = reader_try(t, addr, buf, len);

	return r < 0 ? explain(t, r, addr, len, err) : 0;
}

int reader_string(const struct target *t, uint64_t addr, char *buf, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE), n = 0;

	if (!size)
		return -EINVAL;
	while (n < size - 1) {
		size_t piece = page - addr % page;
		int r;

		if (piece > size - 1 - n)
			piece = size - 1 - n;
		if (piece > 256) /* most strings are short */
			piece = 256;
		r = reader_try(t, addr, buf + n, piece);
		if (r < 0) {
			buf[n] = '\0';
			return r;
		}
		if (memchr(buf + n, '\0', piece))
			return 0;
		n += piece;
		addr += piece;
	}
	buf[n] = '\0';
	return 0;
}

/* The same by reading pagemap, in pieces. */
static int present_by_entries(struct reader_state *s, uint64_t start, uint64_t end,
                              uint64_t *ret_start, uint64_t *ret_end)
{
	cleanup_free uint64_t *entries = malloc(SCAN_PAGES * 8);
	bool inside = false;

	if (!entries)
		return -ENOMEM;
	while (start < end) {
		uint64_t want = (end - start) / s->page;
		ssize_t n;

		if (want > SCAN_PAGES)
			want = SCAN_PAGES;
		n = pread(s->pagemap_fd, entries, want * 8, start / s->page * 8);
		if (n < 0)
			return -errno;
		if (n < 8)
			break;
		for (ssize_t i = 0; i < n / 8; i++, start += s->page) {
			bool here = entries[i] & PAGEMAP_PRESENT;

			if (here && !inside)
				*ret_start = start;
			if (!here && inside) {
				*ret_end = start;
				return 1;
			}
			inside = here;
		}
	}
	if (inside)
		*ret_end = start;
	return inside;
}

static int present_by_scan(struct reader_state *s, uint64_t start, uint64_t end,
                           uint64_t *ret_start, uint64_t *ret_end)
{
	struct pm_region region;
	uint64_t walk_end;
	int n = scan(s, start, end, &region, 1, &walk_end);

	if (n <= 0)
		return n;
	*ret_start = region.start;
	*ret_end = region.end;
	return 1;
}

int reader_present(const struct target *t, uint64_t start, uint64_t end, uint64_t *ret_start,
                   uint64_t *ret_end)
{
	struct reader_state *s;
	int r = get_state(t, &s);

	if (r < 0)
		return r;
	if (start % s->page || end % s->page || end < start || end > INT64_MAX)
		return -EINVAL;
	if (space_is_gone(s) && (r = reopen(s, t)) < 0)
		return r;
	r = present_by_scan(s, start, end, ret_start, ret_end);
	return r == -ENOTTY ? present_by_entries(s, start, end, ret_start, ret_end) : r;
}

enum { FILL_PIECE = 1 << 20 }; /* what is asked for at once: it must not be old when it is read */

static int fill_piece(const struct target *t, uint64_t addr, char *buf, size_t len,
                      uint64_t *missing)
{
	const uint64_t page = t->reader->page, end = addr + len;
	uint64_t at = addr;

	while (at < end) {
		uint64_t from, to;
		int r = reader_present(t, at / page * page, (end + page - 1) / page * page, &from,
		                       &to);

		if (r < 0)
			return r;
		from = r == 0 || from > end ? end : from < at ? at : from;
		to = r == 0 || to > end ? end : to;
		memset(buf + (at - addr), 0, from - at);
		*missing += from - at;
		if (from < to && copy_piece(t->reader, from, buf + (from - addr), to - from) < 0) {
			memset(buf + (from - addr), 0, to - from); /* unmapped meanwhile */
			*missing += to - from;
		}
		at = to;
	}
	return 0;
}

int reader_fill(const struct target *t, uint64_t addr, void *buf, size_t len, uint64_t *ret_missing)
{
	struct reader_state *s;
	uint64_t missing = 0;
	int r = get_state(t, &s);

	if (r == 0 && (addr + len < addr || addr + len > INT64_MAX))
		r = -EFAULT;
	for (size_t at = 0; r == 0 && at < len; at += FILL_PIECE)
		r = fill_piece(t, addr + at, (char *)buf + at,
		               len - at < FILL_PIECE ? len - at : FILL_PIECE, &missing);
	if (r == 0 && missing == len && target_alive(t) < 0)
		r = -ESRCH;
	if (r == 0 && ret_missing)
		*ret_missing = missing;
	return r;
}
