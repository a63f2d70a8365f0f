/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/push_queue.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/steps.h"
#include "profile/proto.h"
#include "serve/spool_files.h"

#define END     ".item"
#define TMP_END ".tmp"
#define LAST    "last."

static void file_name(uint64_t number, const char *end, char *ret, size_t size)
{
	snprintf(ret, size, "%020" PRIu64 "%s", number, end);
}

static void last_name(uint64_t number, char *ret, size_t size)
{
	snprintf(ret, size, LAST "%020" PRIu64, number);
}

static int compare(const void *a, const void *b)
{
	const struct push_queue_entry *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static int append(struct push_queue *q, uint64_t number, uint64_t bytes, struct error *err)
{
	int r;

	if (q->first && q->first == q->n)
		q->first = q->n = 0;
	r = array_reserve(&q->entries, &q->cap, q->n + 1, err);
	if (r < 0)
		return r;
	q->entries[q->n++] = (struct push_queue_entry){ number, bytes };
	q->bytes += bytes;
	if (number >= q->next_number)
		q->next_number = number + 1;
	return 0;
}

static void forget_oldest(struct push_queue *q)
{
	q->bytes -= q->entries[q->first++].bytes;
	/* the front of the array is given back before it is all of it */
	if (q->first > 1024 && q->first > q->n / 2) {
		memmove(q->entries, q->entries + q->first, (q->n - q->first) * sizeof(*q->entries));
		q->n -= q->first;
		q->first = 0;
	}
}

static void drop_oldest(struct push_queue *q)
{
	char name[64];

	file_name(q->entries[q->first].number, END, name, sizeof(name));
	steps_before("push: delete item");
	unlinkat(q->folder, name, 0);
	forget_oldest(q);
}

size_t push_queue_length(const struct push_queue *q)
{
	return q->n - q->first;
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* A number of 20 digits; false: it is none. */
static bool parse_number(const char *text, uint64_t *ret)
{
	errno = 0;
	*ret = strtoull(text, NULL, 10);
	return !errno && *ret <= INT64_MAX;
}

static bool read_last(struct push_queue *q, const char *name)
{
	char own[64];
	uint64_t number;

	if (strncmp(name, LAST, strlen(LAST)) != 0 || !parse_number(name + strlen(LAST), &number))
		return false;
	last_name(number, own, sizeof(own));
	if (strcmp(own, name) != 0)
		return false;
	q->has_last = true;
	q->last = number;
	return true;
}

/* Unfinished files go; others that are not ours stay. */
static int read_entry(struct push_queue *q, const char *name, struct error *err)
{
	struct stat st;
	uint64_t number;
	char own[64];

	if (read_last(q, name))
		return 0;
	if (strlen(name) > strlen(TMP_END) &&
	    !strcmp(name + strlen(name) - strlen(TMP_END), TMP_END)) {
		unlinkat(q->folder, name, 0);
		return 0;
	}
	if (!parse_number(name, &number))
		return 0;
	file_name(number, END, own, sizeof(own));
	if (strcmp(own, name) != 0 || fstatat(q->folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(st.st_mode))
		return 0;
	return append(q, number, (uint64_t)st.st_size, err);
}

static int read_folder(struct push_queue *q, struct error *err)
{
	int fd = openat(q->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	cleanup(closedirp) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return error_sys(err, errno, "the queue's folder");
	while (r == 0 && (e = readdir(d)))
		r = read_entry(q, e->d_name, err);
	if (q->n)
		qsort(q->entries, q->n, sizeof(*q->entries), compare);
	return r;
}

static void keep_limit(struct push_queue *q, uint64_t more)
{
	while (push_queue_length(q) &&
	       (q->bytes + more > q->max_bytes || push_queue_length(q) >= PUSH_QUEUE_MAX_ITEMS)) {
		drop_oldest(q);
		q->dropped_full++;
	}
}

void push_queue_close(struct push_queue *q)
{
	if (q->folder >= 0)
		close(q->folder);
	free(q->entries);
	*q = (struct push_queue){ .folder = -1 };
}

/* --- items ------------------------------------------------------------------------------ */

enum { ITEM_ID = 1, ITEM_TARGET, ITEM_TRIGGER, ITEM_UNIX_NS, ITEM_DATA, ITEM_KIND };

static int encode(const struct push_queue_item *i, struct proto *to)
{
	proto_bytes(to, ITEM_ID, i->id, strlen(i->id));
	proto_bytes(to, ITEM_TARGET, i->target, strlen(i->target));
	proto_bytes(to, ITEM_TRIGGER, i->trigger, strlen(i->trigger));
	proto_bytes(to, ITEM_KIND, i->kind, strlen(i->kind));
	proto_number(to, ITEM_UNIX_NS, (uint64_t)i->unix_ns);
	proto_bytes(to, ITEM_DATA, i->data, i->len);
	return to->failed ? -ENOMEM : 0;
}

/* All of it on disk, and its size. */
static int write_file(struct push_queue *q, const char *name, const struct push_queue_item *item,
                      uint64_t *bytes, struct error *err)
{
	int fd = openat(q->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	                0600);
	cleanup_fclose FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	cleanup(proto_clear) struct proto bytes_of = { 0 };
	struct stat st;

	if (!f)
		return error_sys(err, errno, "a file of the queue");
	if (encode(item, &bytes_of) < 0)
		return error_oom(err);
	fwrite(bytes_of.bytes, 1, bytes_of.n, f);
	errno = 0;
	if (fflush(f) || ferror(f) || fsync(fd) < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno ? errno : EIO, "a file of the queue");
	*bytes = (uint64_t)st.st_size;
	return 0;
}

/* One name in place of another: no moment is without either. */
static int rename_last(struct push_queue *q, uint64_t number, struct error *err)
{
	char from[64], to[64];
	int fd;

	last_name(q->last, from, sizeof(from));
	last_name(number, to, sizeof(to));
	steps_before("push: note item");
	if (q->has_last)
		return renameat(q->folder, from, q->folder, to) < 0
		               ? error_sys(err, errno, "a file of the queue")
		               : 0;
	fd = openat(q->folder, to, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 || close(fd) < 0 ? error_sys(err, errno, "a file of the queue") : 0;
}

int push_queue_note(struct push_queue *q, uint64_t number, struct error *err)
{
	int r = q->has_last && q->last == number ? 0 : rename_last(q, number, err);

	if (r < 0)
		return r;
	q->has_last = true;
	q->last = number;
	return 0;
}

/* Items of no spool have no number. */
static int note_item(struct push_queue *q, const struct push_queue_item *item, struct error *err)
{
	struct spool_capture of;

	return spool_files_parse_id(item->id, &of) ? push_queue_note(q, of.number, err) : 0;
}

int push_queue_add(struct push_queue *q, const struct push_queue_item *item, struct error *err)
{
	char tmp[64], name[64];
	uint64_t bytes = 0, number = q->next_number;
	int r;

	if (item->len > PUSH_QUEUE_MAX_ITEM || item->len + 1024 > q->max_bytes)
		return error_set(err, EFBIG, "too large for the queue");
	keep_limit(q, item->len + 1024);
	file_name(number, TMP_END, tmp, sizeof(tmp));
	file_name(number, END, name, sizeof(name));
	steps_before("push: write item");
	r = write_file(q, tmp, item, &bytes, err);
	steps_before("push: rename item");
	if (r == 0 && renameat(q->folder, tmp, q->folder, name) < 0)
		r = error_sys(err, errno, "a file of the queue");
	if (r == 0)
		r = append(q, number, bytes, err);
	if (r == 0)
		r = note_item(q, item, err);
	if (r == 0 && fsync(q->folder) < 0)
		r = error_sys(err, errno, "the queue's folder");
	if (r < 0)
		unlinkat(q->folder, tmp, 0);
	return r;
}

static int read_bytes(struct push_queue *q, const struct push_queue_entry *e, char **ret)
{
	cleanup_free char *memory = malloc(e->bytes + 1);
	cleanup_close int fd = -1;
	char name[64];
	size_t at = 0;

	file_name(e->number, END, name, sizeof(name));
	fd = openat(q->folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || !memory)
		return memory ? -errno : -ENOMEM;
	while (at < e->bytes) {
		ssize_t n = read(fd, memory + at, e->bytes - at);

		if (n <= 0)
			return -EIO;
		at += (size_t)n;
	}
	memory[at] = '\0';
	*ret = take_ptr(memory);
	return 0;
}

static void take_text(const struct proto_field *f, char to[PUSH_QUEUE_TEXT_BYTES])
{
	snprintf(to, PUSH_QUEUE_TEXT_BYTES, "%.*s", (int)(f->body.end - f->body.at), f->body.at);
}

static int parse_item(const char *memory, size_t len, struct push_queue_item *ret)
{
	struct proto_reader reader = { (const uint8_t *)memory, (const uint8_t *)memory + len };
	struct proto_field f;
	int r;

	*ret = (struct push_queue_item){ 0 };
	while ((r = proto_next(&reader, &f)) > 0) {
		bool is_bytes = f.wire == PROTO_BYTES;

		if (f.number == ITEM_ID && is_bytes)
			take_text(&f, ret->id);
		else if (f.number == ITEM_TARGET && is_bytes)
			take_text(&f, ret->target);
		else if (f.number == ITEM_TRIGGER && is_bytes)
			take_text(&f, ret->trigger);
		else if (f.number == ITEM_KIND && is_bytes)
			take_text(&f, ret->kind);
		else if (f.number == ITEM_UNIX_NS && !is_bytes)
			ret->unix_ns = (int64_t)f.value;
		else if (f.number == ITEM_DATA && is_bytes) {
			ret->data = f.body.at;
			ret->len = (size_t)(f.body.end - f.body.at);
		}
	}
	return r < 0 || !ret->data || !ret->id[0] ? -EBADMSG : 0;
}

int push_queue_peek(struct push_queue *q, struct push_queue_item *ret, void **memory,
                    uint64_t *number, struct error *err)
{
	while (push_queue_length(q)) {
		const struct push_queue_entry e = q->entries[q->first];
		cleanup_free char *bytes = NULL;
		int r = e.bytes > PUSH_QUEUE_MAX_ITEM + 4096 ? -EBADMSG : read_bytes(q, &e, &bytes);

		if (r == -ENOMEM)
			return error_oom(err);
		if (r == 0)
			r = parse_item(bytes, e.bytes, ret);
		if (r == 0) {
			*memory = take_ptr(bytes);
			*number = e.number;
			return 1;
		}
		drop_oldest(q);
		q->damaged++;
	}
	return 0;
}

void push_queue_remove(struct push_queue *q, uint64_t number)
{
	/* the only one that is ever taken is the oldest; a full queue may have dropped it */
	if (push_queue_length(q) && q->entries[q->first].number == number)
		drop_oldest(q);
}

/* --- opening ---------------------------------------------------------------------------- */

/* The newest may have been put in and not noted any more. */
static int note_newest(struct push_queue *q, struct error *err)
{
	cleanup_free char *bytes = NULL;
	struct push_queue_item item;

	if (!push_queue_length(q) || q->entries[q->n - 1].bytes > PUSH_QUEUE_MAX_ITEM + 4096 ||
	    read_bytes(q, &q->entries[q->n - 1], &bytes) < 0 ||
	    parse_item(bytes, q->entries[q->n - 1].bytes, &item) < 0)
		return 0;
	return note_item(q, &item, err);
}

int push_queue_open(const char *path, uint64_t max_bytes, struct push_queue *ret, struct error *err)
{
	struct push_queue q = { .folder = -1, .max_bytes = max_bytes, .next_number = 1 };
	int r = spool_files_open_top(path, &q.folder, err);

	if (r == 0)
		r = read_folder(&q, err);
	if (r == 0)
		r = note_newest(&q, err);
	if (r < 0) {
		push_queue_close(&q);
		return r;
	}
	keep_limit(&q, 0);
	*ret = q;
	return 0;
}
