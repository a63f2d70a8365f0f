/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/steps.h"
#include "serve/spool_files.h"
#include "serve/spool_index.h"
#include "serve/spool_recover.h"

/* Names that no target's folder can have: those begin with no '.'. */
#define INDEX_NAME  ".index.sqlite"
#define BROKEN_NAME ".index.broken"
#define LOCK_NAME   ".lock"

enum { DEFAULT_FREE_PERCENT = 5, EVICT_AT_ONCE = 64 };

static const int64_t SECOND_NS = 1000000000, DAY_NS = 86400 * SECOND_NS;

struct spool {
	pthread_mutex_t mutex;
	struct spool_options limits; /* ->folder is not kept */
	int top, lock;
	struct spool_index *index;
	struct spool_counts counts;
	pthread_mutex_t said_mutex; /* of ->said alone: never held for long */
	struct spool_counts said;   /* ->counts, for who does not wait for a disk */
	uint64_t next_number;
	int64_t lived_then_ns, passed_then_ns; /* when it was opened */
	int64_t kept_ns;                       /* the own time that is in the index */
};

static void machine_clock(struct spool_clock *ret)
{
	struct timespec wall, passed;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_BOOTTIME, &passed);
	ret->unix_ns = wall.tv_sec * SECOND_NS + wall.tv_nsec;
	ret->passed_ns = passed.tv_sec * SECOND_NS + passed.tv_nsec;
}

static struct spool_clock look_at_clock(const struct spool *s)
{
	struct spool_clock now;

	(s->limits.clock ? s->limits.clock : machine_clock)(&now);
	return now;
}

static int64_t lived_ns(const struct spool *s, const struct spool_clock *now)
{
	return s->lived_then_ns + (now->passed_ns - s->passed_then_ns);
}

static void say_counts(struct spool *s)
{
	pthread_mutex_lock(&s->said_mutex);
	s->said = s->counts;
	pthread_mutex_unlock(&s->said_mutex);
}

static void unlockp(struct spool **s)
{
	say_counts(*s);
	pthread_mutex_unlock(&(*s)->mutex);
}

/* For the rest of the scope. */
#define locked(s)                                                                                  \
	cleanup(unlockp) struct spool *locked_ = (s);                                              \
	pthread_mutex_lock(&locked_->mutex)

static void take_limits(struct spool *s, const struct spool_options *o)
{
	s->limits = *o;
	s->limits.folder = NULL;
	if (!o->min_free_percent)
		s->limits.min_free_percent = DEFAULT_FREE_PERCENT;
}

/* --- deleting ----------------------------------------------------------------------- */

static int delete_capture(struct spool *s, const struct spool_capture *c, struct error *err)
{
	int r;

	steps_before("spool: delete file");
	r = spool_files_delete(s->top, c, err);
	if (r < 0)
		return r;
	steps_before("spool: delete row");
	r = spool_index_delete(s->index, c->number, err);
	if (r < 0)
		return r;
	s->counts.captures--;
	s->counts.bytes -= c->file_bytes;
	return 0;
}

static bool is_over(const struct spool *s)
{
	return (s->limits.max_captures && s->counts.captures > s->limits.max_captures) ||
	       (s->limits.max_bytes && s->counts.bytes > s->limits.max_bytes);
}

/* Delete in the order of @q until the limits are kept (@all: all of them). */
static int evict(struct spool *s, struct spool_index_query q, bool all, struct error *err)
{
	size_t n;

	q.order = SPOOL_INDEX_EVICT;
	q.max = EVICT_AT_ONCE;
	do {
		cleanup_free struct spool_index_row *rows = NULL;
		int r = spool_index_rows(s->index, &q, &rows, &n, err);

		for (size_t i = 0; r == 0 && i < n && (all || is_over(s)); i++) {
			r = delete_capture(s, &rows[i].capture, err);
			s->counts.evicted += r == 0;
		}
		if (r < 0)
			return r;
	} while (n == EVICT_AT_ONCE && (all || is_over(s)));
	return 0;
}

/* @spare: the capture that was just added. */
static int keep_limits(struct spool *s, uint64_t spare, struct error *err)
{
	struct spool_clock now = look_at_clock(s);
	int64_t lived = lived_ns(s, &now);
	int64_t max_age_ns = (int64_t)s->limits.max_age_s * SECOND_NS;
	int r = 0;

	if (s->limits.max_age_s)
		r = evict(s,
		          (struct spool_index_query){ .spare = spare,
		                                      .old = true,
		                                      .lived_until_ns = lived - max_age_ns },
		          true, err);
	if (r == 0 && is_over(s))
		r = evict(s, (struct spool_index_query){ .spare = spare }, false, err);
	return r;
}

/* --- opening ------------------------------------------------------------------------ */

static int take_lock(struct spool *s, struct error *err)
{
	s->lock = openat(s->top, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->lock < 0)
		return error_sys(err, errno, "the spool's lock");
	if (flock(s->lock, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, errno == EWOULDBLOCK ? EBUSY : errno,
		                 "the spool is in use by another memwho");
	return 0;
}

/* A broken index is put aside; the files say all that is needed. */
static int open_index(struct spool *s, const char *folder, struct error *err)
{
	char path[4096];
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s/" INDEX_NAME, folder) >= sizeof(path))
		return error_set(err, ENAMETOOLONG, "the spool's path is too long");
	r = spool_index_open(path, &s->index, err);
	if (r != -EUCLEAN)
		return r;
	log_note(LOG_WARN, "%s: %s; it is made again from the captures", folder, err->message);
	if (renameat(s->top, INDEX_NAME, s->top, BROKEN_NAME) < 0)
		return error_sys(err, errno, "cannot put the broken index aside");
	unlinkat(s->top, INDEX_NAME "-wal", 0);
	unlinkat(s->top, INDEX_NAME "-shm", 0);
	s->counts.remade = true;
	return spool_index_open(path, &s->index, err);
}

/* The own time goes on where it was, by the clock, but by a day at most. */
static int take_time(struct spool *s, struct error *err)
{
	struct spool_clock now = look_at_clock(s);
	int64_t lived, then;
	int r = spool_index_time(s->index, &lived, &then, err);

	if (r < 0)
		return r;
	s->passed_then_ns = now.passed_ns;
	s->lived_then_ns = lived +
	                   (then ? spool_recover_between(0, now.unix_ns - then, DAY_NS) : 0);
	s->kept_ns = s->lived_then_ns;
	return spool_index_keep_time(s->index, s->lived_then_ns, now.unix_ns, err);
}

static int recover(struct spool *s, struct error *err)
{
	struct spool_clock now = look_at_clock(s);

	return spool_recover(s->top, s->index, lived_ns(s, &now), now.unix_ns, &s->counts, err);
}

static int begin(struct spool *s, const struct spool_options *o, struct error *err)
{
	uint64_t last;
	int r = spool_files_open_top(o->folder, &s->top, err);

	if (r == 0)
		r = take_lock(s, err);
	if (r == 0)
		r = open_index(s, o->folder, err);
	if (r == 0)
		r = take_time(s, err);
	if (r == 0)
		r = recover(s, err);
	if (r == 0)
		r = spool_index_totals(s->index, &s->counts.captures, &s->counts.bytes, &last, err);
	if (r < 0)
		return r;
	s->next_number = last + 1;
	return keep_limits(s, 0, err);
}

int spool_open(const struct spool_options *o, struct spool **ret, struct error *err)
{
	cleanup(spool_closep) struct spool *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_oom(err);
	s->top = s->lock = -1;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_mutex_init(&s->said_mutex, NULL);
	take_limits(s, o);
	r = begin(s, o, err);
	if (r < 0)
		return r;
	say_counts(s);
	*ret = take_ptr(s);
	return 0;
}

struct spool *spool_close(struct spool *s)
{
	if (!s)
		return NULL;
	spool_index_close(s->index);
	if (s->lock >= 0)
		close(s->lock);
	if (s->top >= 0)
		close(s->top);
	pthread_mutex_destroy(&s->said_mutex);
	pthread_mutex_destroy(&s->mutex);
	free(s);
	return NULL;
}

void spool_closep(struct spool **s)
{
	*s = spool_close(*s);
}

int spool_set_limits(struct spool *s, const struct spool_options *o, struct error *err)
{
	locked(s);
	take_limits(s, o);
	return keep_limits(s, 0, err);
}

/* --- adding ------------------------------------------------------------------------- */

static int fill_capture(struct spool *s, const struct spool_about *a, struct spool_capture *c,
                        struct error *err)
{
	struct spool_capture parsed;
	struct spool_clock now = look_at_clock(s);

	*c = (struct spool_capture){ .number = s->next_number,
		                     .unix_ns = now.unix_ns,
		                     .held_bytes = a->held_bytes,
		                     .pid = a->pid };
	if (strlen(a->target) >= sizeof(c->target))
		return error_set(err, EINVAL, "the target's name is too long");
	snprintf(c->target, sizeof(c->target), "%s", a->target);
	snprintf(c->trigger, sizeof(c->trigger), "%s", a->trigger);
	snprintf(c->reason, sizeof(c->reason), "%s", a->reason ? a->reason : "");
	snprintf(c->baseline, sizeof(c->baseline), "%s", a->baseline ? a->baseline : "");
	spool_files_id(c, c->id);
	if (!spool_files_parse_id(c->id, &parsed) || strcmp(parsed.trigger, a->trigger) != 0)
		return error_set(err, EINVAL, "'%.40s' is no name of a trigger", a->trigger);
	return 0;
}

static void tmp_name(const struct spool_capture *c, char *ret, size_t size)
{
	snprintf(ret, size, "%s" SPOOL_FILES_TMP_END, c->id);
}

static int open_file(struct spool_file *f, struct error *err)
{
	char name[SPOOL_ID_BYTES + 16];
	cleanup_close int fd = -1;

	tmp_name(&f->capture, name, sizeof(name));
	steps_before("spool: new file");
	fd = openat(f->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, errno, "a new file in the spool");
	f->to = fdopen(fd, "w");
	if (!f->to)
		return error_oom(err);
	fd = -1;
	return 0;
}

int spool_begin(struct spool *s, const struct spool_about *about, struct spool_file *ret,
                struct error *err)
{
	struct spool_file f = { .spool = s, .folder = -1 };
	locked(s);
	int r = fill_capture(s, about, &f.capture, err);

	if (r == 0)
		r = spool_files_check_space(s->top, s->limits.min_free_percent, err);
	if (r == 0)
		r = spool_files_open_target(s->top, about->target, &f.folder, err);
	if (r == 0)
		r = open_file(&f, err);
	if (r < 0) {
		s->counts.refused++;
		if (f.folder >= 0)
			close(f.folder);
		return r;
	}
	s->next_number++;
	*ret = f;
	return 0;
}

/* Close and forget; @remove its name, too. */
static void end_file(struct spool_file *f, bool remove)
{
	char name[SPOOL_ID_BYTES + 16];

	if (!f->spool)
		return;
	if (f->to)
		fclose(f->to);
	if (remove) {
		tmp_name(&f->capture, name, sizeof(name));
		unlinkat(f->folder, name, 0);
	}
	close(f->folder);
	*f = (struct spool_file){ .folder = -1 };
}

void spool_drop(struct spool_file *f)
{
	end_file(f, true);
}

/* All bytes on the disk, still without a name that counts. */
static int finish_bytes(struct spool_file *f, struct error *err)
{
	struct stat st;

	steps_before("spool: sync file");
	errno = 0;
	if (fflush(f->to) || ferror(f->to) || fsync(fileno(f->to)) < 0 ||
	    fstat(fileno(f->to), &st) < 0)
		return error_sys(err, errno ? errno : EIO, "a file in the spool");
	f->capture.file_bytes = (uint64_t)st.st_size;
	if (f->spool->limits.max_bytes && f->capture.file_bytes > f->spool->limits.max_bytes)
		return error_set(err, EFBIG, "the capture is larger than the whole spool may be");
	return 0;
}

static int add_row(struct spool *s, const struct spool_capture *c, struct error *err)
{
	struct spool_clock now = look_at_clock(s);
	struct spool_index_row row = { .capture = *c, .lived_ns = lived_ns(s, &now) };

	steps_before("spool: add row");
	return spool_index_add(s->index, &row, err);
}

/* Give it its name, then its row. */
static int publish(struct spool_file *f, struct error *err)
{
	char from[SPOOL_ID_BYTES + 16], to[SPOOL_ID_BYTES + 16];
	int r;

	tmp_name(&f->capture, from, sizeof(from));
	snprintf(to, sizeof(to), "%s" SPOOL_FILES_END, f->capture.id);
	steps_before("spool: rename");
	if (renameat(f->folder, from, f->folder, to) < 0)
		return error_sys(err, errno, "a file in the spool");
	steps_before("spool: sync folder");
	r = fsync(f->folder) < 0 ? error_sys(err, errno, "a folder in the spool")
	                         : add_row(f->spool, &f->capture, err);
	if (r < 0)
		unlinkat(f->folder, to, 0);
	return r;
}

int spool_commit(struct spool_file *f, struct spool_capture *ret, struct error *err)
{
	struct spool *s = f->spool;
	struct spool_capture done;
	struct error later;
	int r = finish_bytes(f, err);

	locked(s);
	if (r == 0)
		r = publish(f, err);
	done = f->capture;
	end_file(f, r < 0);
	if (r < 0) {
		s->counts.refused++;
		return r;
	}
	s->counts.added++;
	s->counts.captures++;
	s->counts.bytes += done.file_bytes;
	if (keep_limits(s, done.number, &later) < 0)
		log_note(LOG_WARN, "older captures could not be deleted: %s", later.message);
	if (ret)
		*ret = done;
	return 0;
}

int spool_add(struct spool *s, const struct spool_about *about, const void *data, size_t len,
              struct spool_capture *ret, struct error *err)
{
	struct spool_file f;
	int r = spool_begin(s, about, &f, err);

	if (r < 0)
		return r;
	fwrite(data, 1, len, f.to); /* what went wrong is found at the end */
	return spool_commit(&f, ret, err);
}

/* --- looking ------------------------------------------------------------------------ */

static int rows_to_captures(const struct spool_index_row *rows, size_t n,
                            struct spool_capture **ret, struct error *err)
{
	struct spool_capture *captures = calloc(n + 1, sizeof(*captures));

	if (!captures)
		return error_oom(err);
	for (size_t i = 0; i < n; i++)
		captures[i] = rows[i].capture;
	*ret = captures;
	return 0;
}

int spool_list(struct spool *s, const char *target, size_t max, struct spool_capture **ret,
               size_t *n, struct error *err)
{
	cleanup_free struct spool_index_row *rows = NULL;
	struct spool_index_query q = { .target = target, .max = max };
	size_t n_rows;
	locked(s);
	int r = spool_index_rows(s->index, &q, &rows, &n_rows, err);

	if (r == 0)
		r = rows_to_captures(rows, n_rows, ret, err);
	if (r == 0)
		*n = n_rows;
	return r;
}

/* With the lock held. */
static int find_one(struct spool *s, struct spool_index_query q, struct spool_capture *ret,
                    struct error *err)
{
	cleanup_free struct spool_index_row *rows = NULL;
	size_t n;
	int r;

	q.max = 1;
	r = spool_index_rows(s->index, &q, &rows, &n, err);
	if (r < 0)
		return r;
	if (!n)
		return error_set(err, ENOENT, "no such capture");
	*ret = rows[0].capture;
	return 0;
}

static int find_id(struct spool *s, const char *id, struct spool_capture *ret, struct error *err)
{
	return find_one(s, (struct spool_index_query){ .order = SPOOL_INDEX_ID, .text = id }, ret,
	                err);
}

int spool_find(struct spool *s, const char *id, struct spool_capture *ret, struct error *err)
{
	locked(s);
	return find_id(s, id, ret, err);
}

int spool_newest(struct spool *s, const char *target, const char *trigger,
                 struct spool_capture *ret, struct error *err)
{
	struct spool_index_query q = { .order = trigger ? SPOOL_INDEX_TRIGGER : SPOOL_INDEX_NEWEST,
		                       .target = target,
		                       .text = trigger };
	locked(s);

	return find_one(s, q, ret, err);
}

int spool_open_capture(struct spool *s, const char *id, int *ret, struct error *err)
{
	cleanup_close int folder = -1;
	char name[SPOOL_ID_BYTES + 16];
	struct spool_capture c;
	int fd;
	locked(s);
	int r = find_id(s, id, &c, err);

	if (r == 0)
		r = spool_files_open_target(s->top, c.target, &folder, err);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s" SPOOL_FILES_END, c.id);
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "the capture %s", c.id);
	*ret = fd;
	return 0;
}

int spool_remove(struct spool *s, const char *id, struct error *err)
{
	struct spool_capture c;
	locked(s);
	int r = find_id(s, id, &c, err);

	return r < 0 ? r : delete_capture(s, &c, err);
}

int spool_prune(struct spool *s, struct error *err)
{
	locked(s);
	struct spool_clock now = look_at_clock(s);
	int64_t lived = lived_ns(s, &now);
	int r = 0;

	/* each of these is a write to the disk */
	if (lived - s->kept_ns >= 60 * SECOND_NS) {
		r = spool_index_keep_time(s->index, lived, now.unix_ns, err);
		if (r == 0)
			s->kept_ns = lived;
	}
	return r < 0 ? r : keep_limits(s, 0, err);
}

void spool_counts(struct spool *s, struct spool_counts *ret)
{
	pthread_mutex_lock(&s->said_mutex);
	*ret = s->said;
	pthread_mutex_unlock(&s->said_mutex);
}
