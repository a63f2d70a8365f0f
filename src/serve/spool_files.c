/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/spool_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "profile/profile_file.h"

int spool_files_open_top(const char *path, int *ret, struct error *err)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_sys(err, errno, "cannot make the spool %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "the spool %s", path);
	if (st.st_uid != geteuid())
		return error_set(err, EPERM, "the spool %s belongs to user %u", path, st.st_uid);
	if ((st.st_mode & 077) && fchmod(fd, 0700) < 0)
		return error_sys(err, errno, "the spool %s", path);
	*ret = take_fd(fd);
	return 0;
}

static bool is_plain(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-' || (c == '.' && !first);
}

int spool_files_escape(const char *name, char *ret, size_t size, struct error *err)
{
	size_t at = 0;

	if (!*name)
		return error_set(err, EINVAL, "a target without a name");
	for (const char *c = name; *c; c++) {
		if (at + 4 > size)
			return error_set(err, EINVAL, "the target's name is too long");
		at += (size_t)snprintf(ret + at, size - at,
		                       is_plain(*c, c == name) ? "%c" : "%%%02X",
		                       (unsigned char)*c);
	}
	return 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool spool_files_unescape(const char *escaped, char *ret, size_t size)
{
	size_t at = 0;

	for (const char *c = escaped; *c; c++) {
		char byte = *c;

		if (at + 1 >= size)
			return false;
		if (byte == '%') {
			if (hex(c[1]) < 0 || hex(c[2]) < 0)
				return false;
			byte = (char)(hex(c[1]) << 4 | hex(c[2]));
			c += 2;
		} else if (!is_plain(byte, c == escaped)) {
			return false;
		}
		if (!byte)
			return false;
		ret[at++] = byte;
	}
	ret[at] = '\0';
	return at > 0;
}

void spool_files_id(const struct spool_capture *c, char *ret)
{
	time_t seconds = (time_t)(c->unix_ns / 1000000000);
	struct tm tm;
	char time[32];

	if (!gmtime_r(&seconds, &tm) || !strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", &tm))
		snprintf(time, sizeof(time), "19700101T000000Z");
	snprintf(ret, SPOOL_ID_BYTES, "%s-%" PRIu64 "-%s", time, c->number, c->trigger);
}

static bool is_trigger(const char *s)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return len > 0 && !s[len] && len < SPOOL_TRIGGER_BYTES;
}

bool spool_files_parse_id(const char *id, struct spool_capture *ret)
{
	struct spool_capture c = { 0 };
	struct tm tm = { 0 };
	const char *rest = strptime(id, "%Y%m%dT%H%M%SZ-", &tm);
	char *end;

	if (!rest || *rest < '0' || *rest > '9' || strlen(id) >= sizeof(c.id))
		return false;
	errno = 0;
	c.number = strtoull(rest, &end, 10);
	if (errno || *end != '-' || !c.number || c.number > INT64_MAX / 2 || !is_trigger(end + 1))
		return false;
	c.unix_ns = (int64_t)timegm(&tm) * 1000000000;
	snprintf(c.trigger, sizeof(c.trigger), "%s", end + 1);
	snprintf(c.id, sizeof(c.id), "%s", id);
	*ret = c;
	return true;
}

int spool_files_open_target(int top, const char *target, int *ret, struct error *err)
{
	char folder[256];
	int fd, r = spool_files_escape(target, folder, sizeof(folder), err);

	if (r < 0)
		return r;
	if (mkdirat(top, folder, 0700) == 0)
		r = fsync(top);
	else if (errno != EEXIST)
		r = -1;
	if (r < 0)
		return error_sys(err, errno, "the spool's folder of %s", folder);
	fd = openat(top, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "the spool's folder of %s", folder);
	*ret = fd;
	return 0;
}

int spool_files_check_space(int top, unsigned percent, struct error *err)
{
	struct statvfs fs;

	if (fstatvfs(top, &fs) < 0)
		return error_sys(err, errno, "the spool's file system");
	/* some file systems do not count */
	if (fs.f_blocks && (double)fs.f_bavail < (double)fs.f_blocks * percent / 100)
		return error_set(err, ENOSPC, "less than %u %% of the spool's file system is free",
		                 percent);
	return 0;
}

int spool_files_delete(int top, const struct spool_capture *c, struct error *err)
{
	char folder[256], path[512];
	int r = spool_files_escape(c->target, folder, sizeof(folder), err);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/%s" SPOOL_FILES_END, folder, c->id);
	if (unlinkat(top, path, 0) < 0 && errno != ENOENT)
		return error_sys(err, errno, "cannot delete the capture %s", c->id);
	unlinkat(top, folder, AT_REMOVEDIR); /* only when it is empty */
	return 0;
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && !strcmp(name + n - m, end);
}

/* A capture out of the file @name in the folder of @target; false: not ours. */
static bool parse_file(int folder, const char *name, const char *target, struct spool_capture *ret)
{
	char id[256];
	struct stat st;

	snprintf(id, sizeof(id), "%.*s", (int)(strlen(name) - strlen(SPOOL_FILES_END)), name);
	if (!spool_files_parse_id(id, ret) || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(st.st_mode))
		return false;
	snprintf(ret->target, sizeof(ret->target), "%s", target);
	ret->file_bytes = (uint64_t)st.st_size;
	return true;
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* @fd is closed. */
static int each_file(int fd, const char *target,
                     int (*each)(void *data, const struct spool_capture *c), void *data,
                     uint64_t *unfinished)
{
	cleanup(closedirp) DIR *d = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (e = readdir(d))) {
		struct spool_capture c;

		if (ends_with(e->d_name, SPOOL_FILES_TMP_END))
			*unfinished += unlinkat(fd, e->d_name, 0) == 0;
		else if (ends_with(e->d_name, SPOOL_FILES_END) &&
		         parse_file(fd, e->d_name, target, &c))
			r = each(data, &c);
	}
	return r;
}

int spool_files_each(int top, int (*each)(void *data, const struct spool_capture *c), void *data,
                     uint64_t *unfinished, struct error *err)
{
	int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	cleanup(closedirp) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		r = error_sys(err, errno, "the spool's folder");
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d))) {
		char target[SPOOL_NAME_BYTES];
		int folder;

		if (!spool_files_unescape(e->d_name, target, sizeof(target)))
			continue;
		folder = openat(top, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (folder < 0)
			continue;
		r = each_file(folder, target, each, data, unfinished);
		unlinkat(top, e->d_name, AT_REMOVEDIR); /* only when it is empty */
	}
	return r < 0 ? error_sys(err, -r, "the spool's files") : 0;
}

uint64_t spool_files_held_bytes(int top, const struct spool_capture *c)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct error ignored;
	char folder[256], path[600];
	int64_t held;
	int type;

	if (spool_files_escape(c->target, folder, sizeof(folder), &ignored) < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s/%s" SPOOL_FILES_END, top, folder, c->id);
	if (profile_file_read(path, &p, &ignored) < 0)
		return 0;
	type = profile_find_type(p, "inuse_space");
	held = type < 0 ? 0 : profile_total(p, (size_t)type);
	return held > 0 ? (uint64_t)held : 0;
}
