/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/feature.h"
#include "base/hash.h"
#include "base/log.h"

static const char suffix[] = ".unwind";

/* Native byte order and no padding. The version counts every change of what
 * rows mean or how they are made. */
struct header {
	char magic[8];
	uint32_t version, row_bytes;
	uint64_t frames_hash, text_base, text_end;
	uint64_t n_rows, n_fdes, n_dropped, n_followed;
	uint64_t file_identity; /* counts if n_followed */
	uint64_t content_hash;  /* of the rows, and with 0 here of this header */
};

enum { VERSION = 2 };
static const char magic[8] = "memwho\n";

/* Ours, and nobody else may write. */
static bool is_trusted(const struct stat *st)
{
	return st->st_uid == geteuid() && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* A folder that we own, made if it is missing; -1 if there is none to trust. */
static int open_folder(int parent, const char *path, int flags)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (mkdirat(parent, path, 0700) < 0 && errno != EEXIST)
		return -1;
	fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
	if (fd < 0 || fstat(fd, &st) < 0 || !is_trusted(&st))
		return -1;
	return take_fd(fd);
}

static int open_cache(void)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	const char *wish = getenv("MEMWHO_CACHE");
	cleanup_close int parent = -1;
	char path[PATH_MAX];

	if ((wish && !strcmp(wish, "off")) || !feature_allowed("cache"))
		return -1;
	/* relative paths are to be ignored (XDG Base Directory Specification) */
	if (cache && *cache == '/')
		snprintf(path, sizeof(path), "%s", cache);
	else if (home && *home == '/')
		snprintf(path, sizeof(path), "%s/.cache", home);
	else
		return -1;
	parent = open_folder(AT_FDCWD, path, 0);
	return parent < 0 ? -1 : open_folder(parent, "memwho", O_NOFOLLOW);
}

static bool read_all(int fd, void *buf, size_t len, off_t offset)
{
	char *to = buf;

	while (len) {
		ssize_t n = pread(fd, to, len, offset);

		if (n <= 0)
			return false;
		to += n;
		offset += n;
		len -= n;
	}
	return true;
}

static bool write_all(int fd, const void *buf, size_t len)
{
	const char *from = buf;

	while (len) {
		ssize_t n = write(fd, from, len);

		if (n <= 0)
			return false;
		from += n;
		len -= n;
	}
	return true;
}

static uint64_t content_hash(struct header h, const struct unwind_row *rows)
{
	h.content_hash = 0;
	return hash_bytes(rows, h.n_rows * sizeof(*rows), hash_bytes(&h, sizeof(h), 0));
}

static bool is_for(const struct header *h, const struct cache_key *key,
                   const struct unwind_table *t, uint64_t file_bytes)
{
	return !memcmp(h->magic, magic, sizeof(magic)) && h->version == VERSION &&
	       h->row_bytes == sizeof(struct unwind_row) && h->frames_hash == key->frames_hash &&
	       (!h->n_followed || h->file_identity == key->file_identity) &&
	       h->text_base == t->text_base && h->text_end == t->text_end && h->n_rows &&
	       file_bytes >= sizeof(*h) &&
	       h->n_rows == (file_bytes - sizeof(*h)) / sizeof(struct unwind_row) &&
	       (file_bytes - sizeof(*h)) % sizeof(struct unwind_row) == 0;
}

/* What readers rely on, even if all hashes are right. */
static bool rows_are_sane(const struct unwind_row *rows, size_t n)
{
	if (rows[0].pc)
		return false;
	for (size_t i = 1; i < n; i++)
		if (rows[i].pc <= rows[i - 1].pc)
			return false;
	return true;
}

static bool load(int fd, const struct cache_key *key, struct unwind_table *t)
{
	cleanup_free struct unwind_row *rows = NULL;
	struct header h;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !is_trusted(&st) ||
	    !read_all(fd, &h, sizeof(h), 0) || !is_for(&h, key, t, st.st_size))
		return false;
	rows = malloc(h.n_rows * sizeof(*rows));
	if (!rows || !read_all(fd, rows, h.n_rows * sizeof(*rows), sizeof(h)) ||
	    content_hash(h, rows) != h.content_hash || !rows_are_sane(rows, h.n_rows))
		return false;
	t->rows = take_ptr(rows);
	t->n_rows = h.n_rows;
	t->n_fdes = h.n_fdes;
	t->n_dropped = h.n_dropped;
	t->n_followed = h.n_followed;
	return true;
}

bool cache_load(const struct cache_key *key, struct unwind_table *t)
{
	cleanup_close int folder = *key->name ? open_cache() : -1, fd = -1;

	if (folder < 0)
		return false;
	fd = openat(folder, key->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || !load(fd, key, t))
		return false;
	futimens(fd, NULL); /* used just now: not the next to be removed */
	return true;
}

static bool write_table(int fd, const struct cache_key *key, const struct unwind_table *t)
{
	struct header h = {
		.version = VERSION,
		.row_bytes = sizeof(*t->rows),
		.frames_hash = key->frames_hash,
		.text_base = t->text_base,
		.text_end = t->text_end,
		.n_rows = t->n_rows,
		.n_fdes = t->n_fdes,
		.n_dropped = t->n_dropped,
		.n_followed = t->n_followed,
		.file_identity = key->file_identity,
	};

	memcpy(h.magic, magic, sizeof(magic));
	h.content_hash = content_hash(h, t->rows);
	return write_all(fd, &h, sizeof(h)) && write_all(fd, t->rows, t->n_rows * sizeof(*t->rows));
}

void cache_store(const struct cache_key *key, const struct unwind_table *t)
{
	cleanup_close int folder = *key->name && t->n_rows ? open_cache() : -1, fd = -1;
	char temporary[CACHE_NAME_BYTES + 64];
	bool whole;

	if (folder < 0 || t->n_rows > CACHE_MAX_BYTES / 2 / sizeof(*t->rows))
		return;
	snprintf(temporary, sizeof(temporary), "%s.%d%s", key->name, getpid(), suffix);
	unlinkat(folder, temporary, 0); /* of a process with our pid that was killed */
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	whole = write_table(fd, key, t);
	if (!whole || renameat(folder, temporary, folder, key->name) < 0) {
		log_note(LOG_DEBUG, "unwind table not kept on disk: %s", strerror(errno));
		unlinkat(folder, temporary, 0);
		return;
	}
	cache_trim(folder, CACHE_MAX_BYTES);
}

struct cached_file {
	char name[CACHE_NAME_BYTES + 64];
	uint64_t bytes;
	struct timespec used;
};

struct cached_files {
	struct cached_file *items;
	size_t n_items, cap_items;
};

static int by_use(const void *a, const void *b)
{
	const struct cached_file *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

static void list_file(int folder, const char *name, struct cached_files *list)
{
	size_t len = strlen(name);
	struct cached_file *f;
	struct error err;
	struct stat st;

	if (len < sizeof(suffix) || len >= sizeof(f->name) ||
	    strcmp(name + len - strlen(suffix), suffix) != 0 ||
	    fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
	    array_reserve(&list->items, &list->cap_items, list->n_items + 1, &err) < 0)
		return;
	f = &list->items[list->n_items++];
	memcpy(f->name, name, len + 1);
	f->bytes = st.st_size;
	f->used = st.st_mtim;
}

static void list_folder(int folder, struct cached_files *list)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		list_file(folder, entry->d_name, list);
	closedir(dir);
}

void cache_trim(int folder, uint64_t max_bytes)
{
	struct cached_files list = { 0 };
	uint64_t sum = 0;

	list_folder(folder, &list);
	for (size_t i = 0; i < list.n_items; i++)
		sum += list.items[i].bytes;
	if (sum > max_bytes)
		qsort(list.items, list.n_items, sizeof(*list.items), by_use);
	for (size_t i = 0; i < list.n_items && sum > max_bytes; i++) {
		unlinkat(folder, list.items[i].name, 0);
		sum -= list.items[i].bytes;
	}
	free(list.items);
}
