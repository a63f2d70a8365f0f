/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/feature.h"
#include "base/search.h"
#include "target/maps_moved.h"
#include "target/permission.h"
#include "target/proc.h"
#include "target/rooted.h"

enum { MAPS_MAX_BYTES = 1 << 29 }; /* about 4 million mappings */

void maps_clear(struct maps *m)
{
	for (size_t i = 0; i < m->n_items; i++)
		free(m->items[i].name);
	free(m->items);
	*m = (struct maps){ 0 };
}

/* One field: hexadecimal or decimal digits up to @until, which is skipped. */
static bool number(const char **p, const char *end, unsigned base, char until, uint64_t *ret)
{
	uint64_t v = 0;
	const char *s = *p;

	for (; s < end && *s != until; s++) {
		unsigned digit = *s >= '0' && *s <= '9'   ? *s - '0'
		                 : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10
		                                          : 99;

		if (digit >= base || v > (UINT64_MAX - digit) / base)
			return false;
		v = v * base + digit;
	}
	if (s == *p || s == end)
		return false;
	*ret = v;
	*p = s + 1;
	return true;
}

static bool permissions(const char **p, const char *end, unsigned *ret)
{
	const char *s = *p;

	if (end - s < 5 || s[4] != ' ')
		return false;
	*ret = (s[0] == 'r' ? MAPS_READ : 0) | (s[1] == 'w' ? MAPS_WRITE : 0) |
	       (s[2] == 'x' ? MAPS_EXEC : 0) | (s[3] == 's' ? MAPS_SHARED : 0);
	*p = s + 5;
	return true;
}

/* seq_file_path() of the kernel escapes the newline only (fs/proc/task_mmu.c). */
static char *unescape(const char *s, size_t len)
{
	char *name = malloc(len + 1);
	size_t n = 0;

	if (!name)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (len - i >= 4 && !memcmp(s + i, "\\012", 4)) {
			name[n++] = '\n';
			i += 3;
		} else {
			name[n++] = s[i];
		}
	}
	name[n] = '\0';
	return name;
}

static int parse_name(const char *s, const char *end, struct mapping *m, struct error *err)
{
	static const char suffix[] = " (deleted)";
	size_t cut = strlen(suffix), len;

	while (s < end && *s == ' ')
		s++;
	len = end - s;
	if (m->inode && len > cut && !memcmp(end - cut, suffix, cut)) {
		m->deleted = true;
		len -= cut;
	}
	m->name = unescape(s, len);
	return m->name ? 0 : error_oom(err);
}

/* start-end perms offset major:minor inode name */
static int parse_line(const char *s, const char *end, struct mapping *ret, struct error *err)
{
	struct mapping m = { 0 };
	uint64_t major, minor;
	const char *line = s;
	int r;

	/* the inode's blank is the line's end where there is no name */
	if (!number(&s, end, 16, '-', &m.start) || !number(&s, end, 16, ' ', &m.end) ||
	    !permissions(&s, end, &m.prot) || !number(&s, end, 16, ' ', &m.offset) ||
	    !number(&s, end, 16, ':', &major) || !number(&s, end, 16, ' ', &minor) ||
	    (!number(&s, end, 10, ' ', &m.inode) && !number(&s, end + 1, 10, '\n', &m.inode)) ||
	    m.start >= m.end || major > UINT32_MAX || minor > UINT32_MAX)
		return error_set(err, EINVAL, "not a line of /proc/PID/maps: '%.*s'",
		                 (int)(end - line > 100 ? 100 : end - line), line);
	m.dev_major = major;
	m.dev_minor = minor;
	r = parse_name(s < end ? s : end, end, &m, err);
	if (r == 0)
		*ret = m;
	return r;
}

/* The kernel writes the file page by page while the target may change its
 * mappings: what overlaps the one before was told twice. */
static bool told_already(const struct maps *m, const struct mapping *one)
{
	return m->n_items && one->start < m->items[m->n_items - 1].end;
}

static int add_line(const char *line, const char *end, struct maps *m, struct error *err)
{
	struct mapping one;
	int r = array_reserve(&m->items, &m->cap_items, m->n_items + 1, err);

	if (r == 0)
		r = parse_line(line, end, &one, err);
	if (r < 0)
		return r;
	if (told_already(m, &one))
		free(one.name);
	else
		m->items[m->n_items++] = one;
	return 0;
}

int maps_parse(const char *text, size_t len, struct maps *ret, struct error *err)
{
	cleanup(maps_clear) struct maps m = { 0 };
	const char *end = text + len;
	int r;

	while (text < end) {
		const char *newline = memchr(text, '\n', end - text);

		if (!newline)
			return error_set(err, EINVAL, "/proc/PID/maps ends inside a line");
		r = add_line(text, newline, &m, err);
		if (r < 0)
			return r;
		text = newline + 1;
	}
	*ret = m;
	m = (struct maps){ 0 };
	return 0;
}

int maps_read_raw(const struct target *t, struct maps *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = target_proc_file(t, "maps", MAPS_MAX_BYTES, &text, &len, err);

	/* of a zombie the file is there and empty */
	if (r == 0 && !len)
		r = error_set(err, ESRCH, "process %d (%s) has ended", t->pid, t->comm);
	if (r == 0)
		r = maps_parse(text, len, ret, err);
	for (size_t i = 0; r == 0 && i < ret->n_items; i++) {
		char *name = ret->items[i].name;
		const char *inside = target_inside(t, name);

		if (inside != name)
			memmove(name, inside, strlen(inside) + 1);
	}
	return r;
}

int maps_read(const struct target *t, struct maps *ret, struct error *err)
{
	cleanup(maps_clear) struct maps m = { 0 };
	int r = maps_read_raw(t, &m, err);

	if (r == 0 && t->moved)
		r = maps_moved_put_back(&m, t->moved, err);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct maps){ 0 };
	return 0;
}

size_t maps_first_behind(const struct maps *m, uint64_t addr)
{
	return partition_point(m->n_items, i, m->items[i].end <= addr);
}

const struct mapping *maps_find(const struct maps *m, uint64_t addr)
{
	size_t at = maps_first_behind(m, addr);

	return at < m->n_items && m->items[at].start <= addr ? &m->items[at] : NULL;
}

/*
 * Which file is it? On overlayfs and btrfs, maps shows another device (and on
 * some kernels another inode) than stat() does. Mapping our file shows us the
 * pair that maps would use; the page is never touched.
 */
static bool shown_as(int fd, const struct mapping *m)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *at = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
	cleanup(maps_clear) struct maps own = { 0 };
	cleanup_free char *text = NULL;
	const struct mapping *shown;
	struct error ignored;
	size_t len;
	bool same = false;

	if (at == MAP_FAILED)
		return false;
	if (proc_read(AT_FDCWD, "/proc/self/maps", MAPS_MAX_BYTES, &text, &len) == 0 &&
	    maps_parse(text, len, &own, &ignored) == 0) {
		shown = maps_find(&own, (uintptr_t)at);
		same = shown && shown->inode == m->inode && shown->dev_major == m->dev_major &&
		       shown->dev_minor == m->dev_minor;
	}
	munmap(at, page);
	return same;
}

static bool is_file_of(int fd, const struct mapping *m)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	return (st.st_ino == m->inode && major(st.st_dev) == m->dev_major &&
	        minor(st.st_dev) == m->dev_minor) ||
	       shown_as(fd, m);
}

/* The mapping's own file, whatever became of its name. Needs
 * CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN. */
static int open_map_file(const struct target *t, const struct mapping *m)
{
	cleanup_close int path_fd = -1;
	char name[64];

	if (!feature_allowed("map_files"))
		return -EPERM;
	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, m->start, m->end);
	path_fd = openat(t->proc_fd, name, O_PATH | O_CLOEXEC);
	return path_fd < 0 ? -errno : rooted_reopen(path_fd);
}

static int refuse(const struct mapping *m, int reason, struct error *err)
{
	if (m->deleted)
		error_set(err, ESTALE, "%s was deleted or replaced while the process runs it",
		          m->name);
	else
		error_set(err, ESTALE, "%s is not the file that the process has mapped", m->name);
	if (reason == -EPERM || reason == -EACCES)
		error_hint(err, "the mapped file itself can be read with sudo (CAP_SYS_ADMIN or "
		                "CAP_CHECKPOINT_RESTORE is missing)");
	return err->code;
}

int maps_open_file(const struct target *t, const struct mapping *m, int *ret_fd, struct error *err)
{
	cleanup_close int fd = -1;
	int r, reason;

	if (!m->inode || m->name[0] != '/')
		return error_set(err, ENOENT, "no file is mapped at %" PRIx64, m->start);
	fd = open_map_file(t, m);
	if (fd >= 0 && is_file_of(fd, m)) {
		*ret_fd = take_fd(fd);
		return 0;
	}
	reason = fd < 0 ? fd : -ESTALE;
	cleanup_close_(&fd);
	fd = -1;
	r = target_open_path(t, m->name, &fd, err);
	if (r == -ENOENT)
		return refuse(m, reason, err);
	if (r == -EACCES)
		return error_hint(err, "CAP_DAC_READ_SEARCH is missing: run the same command with "
		                       "sudo, or once: " PERMISSION_SETCAP);
	if (r < 0)
		return r;
	if (!is_file_of(fd, m))
		return refuse(m, reason, err);
	*ret_fd = take_fd(fd);
	return 0;
}

uint64_t maps_gap(const struct maps *m, uint64_t low, uint64_t high, uint64_t *ret)
{
	uint64_t before = low, start = 0;

	*ret = 0;
	for (size_t i = 0; i <= m->n_items; i++) {
		uint64_t next = i < m->n_items ? m->items[i].start : high;

		if (next > high)
			next = high;
		if (next > before && next - before > *ret) {
			*ret = next - before;
			start = before;
		}
		if (i < m->n_items && m->items[i].end > before)
			before = m->items[i].end;
	}
	return start;
}
