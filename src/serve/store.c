/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/thread.h"
#include "serve/pushes.h"
#include "serve/tally.h"

/* One capture on its way. */
struct parcel {
	struct parcel *next;
	bool is_prune; /* none: old ones are to be deleted */
	char target[SPOOL_NAME_BYTES], trigger[SPOOL_TRIGGER_BYTES], reason[SPOOL_REASON_BYTES];
	char baseline[SPOOL_ID_BYTES], by[CONFIG_NAME_BYTES], kind[16];
	uint64_t held_bytes;
	int32_t pid;
	int fd; /* the capture; -1: there is none */
	uint64_t bytes;
	store_done *done;
	void *arg;
	struct error err; /* code 0: it is kept */
	struct spool_capture kept;
};

struct list {
	struct parcel *first, **end;
};

struct store {
	struct service *s;
	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t wake, idle;
	struct list todo, kept;
	bool works, stop;
	pthread_t thread;
	bool has_thread;
};

static void append(struct list *l, struct parcel *p)
{
	p->next = NULL;
	*l->end = p;
	l->end = &p->next;
}

static struct parcel *take_first(struct list *l)
{
	struct parcel *p = l->first;

	if (p)
		l->first = p->next;
	if (!l->first)
		l->end = &l->first;
	return p;
}

static void parcel_free(struct parcel *p)
{
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

/* ---- the thread ---- */

static int copy_to(FILE *to, int fd, uint64_t bytes, struct error *err)
{
	char data[65536];

	for (uint64_t at = 0; at < bytes;) {
		ssize_t n = pread(fd, data, sizeof(data), (off_t)at);

		if (n <= 0)
			return error_sys(err, n < 0 ? errno : EIO, "cannot read the capture");
		fwrite(data, 1, (size_t)n, to);
		at += (uint64_t)n;
	}
	return 0;
}

static int keep(struct spool *spool, struct parcel *p)
{
	const struct spool_about about = {
		.target = p->target,
		.trigger = p->trigger,
		.reason = p->reason[0] ? p->reason : NULL,
		.baseline = p->baseline[0] ? p->baseline : NULL,
		.held_bytes = p->held_bytes,
		.pid = p->pid,
	};
	cleanup(spool_drop) struct spool_file f = { 0 };
	int r = spool ? 0 : error_set(&p->err, ENOENT, "there is no spool");

	if (r == 0)
		r = spool_begin(spool, &about, &f, &p->err);
	if (r == 0)
		r = copy_to(f.to, p->fd, p->bytes, &p->err);
	return r < 0 ? r : spool_commit(&f, &p->kept, &p->err);
}

static void work(struct service *s, struct parcel *p)
{
	struct error ignored;

	if (p->is_prune && s->spool)
		spool_prune(s->spool, &ignored);
	if (!p->is_prune && keep(s->spool, p) == 0)
		pushes_add(s->pushes, &p->kept, p->kind, p->fd, p->bytes);
}

static void *run(void *data)
{
	struct store *st = data;

	pthread_mutex_lock(&st->mutex);
	for (;;) {
		struct parcel *p = take_first(&st->todo);

		if (!p && st->stop)
			break;
		if (!p) {
			pthread_cond_wait(&st->wake, &st->mutex);
			continue;
		}
		st->works = true;
		pthread_mutex_unlock(&st->mutex);
		work(st->s, p);
		pthread_mutex_lock(&st->mutex);
		st->works = false;
		append(&st->kept, p);
		pthread_cond_broadcast(&st->idle);
	}
	pthread_mutex_unlock(&st->mutex);
	return NULL;
}

/* ---- the service's side ---- */

static void tell(struct service *s, const struct parcel *p)
{
	bool is_kept = !p->err.code;

	if (p->is_prune)
		return;
	tally_add(&s->tally, p->target, p->trigger, is_kept ? "ok" : "failed",
	          is_kept ? p->kept.id : NULL);
	if (is_kept)
		log_note(LOG_INFO, "target %s: kept %s (%s)%s%s", p->target, p->kept.id, p->by,
		         p->reason[0] ? ": " : "", p->reason);
	else
		log_note(LOG_WARN, "target %s: capture by %s failed: %s", p->target, p->by,
		         p->err.message);
	if (p->done)
		p->done(p->arg, is_kept ? &p->kept : NULL);
}

static void give(struct store *st, struct parcel *p)
{
	pthread_mutex_lock(&st->mutex);
	append(&st->todo, p);
	pthread_cond_signal(&st->wake);
	pthread_mutex_unlock(&st->mutex);
}

static struct parcel *parcel_of(const struct spool_about *about, const struct jobs_result *r,
                                const char *by, const char *kind)
{
	struct parcel *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	snprintf(p->target, sizeof(p->target), "%s", about->target);
	snprintf(p->trigger, sizeof(p->trigger), "%s", about->trigger);
	snprintf(p->reason, sizeof(p->reason), "%s", about->reason ? about->reason : "");
	snprintf(p->baseline, sizeof(p->baseline), "%s", about->baseline ? about->baseline : "");
	snprintf(p->by, sizeof(p->by), "%s", by);
	snprintf(p->kind, sizeof(p->kind), "%s", kind);
	p->held_bytes = about->held_bytes;
	p->pid = about->pid;
	p->err = r->err;
	p->bytes = r->bytes;
	p->fd = r->err.code ? -1 : fcntl(r->fd, F_DUPFD_CLOEXEC, 0);
	if (!r->err.code && p->fd < 0)
		error_sys(&p->err, errno, "cannot keep the capture");
	return p;
}

void store_capture(struct store *st, const struct spool_about *about, const struct jobs_result *r,
                   const char *by, const char *kind, store_done *done, void *arg)
{
	struct parcel *p = parcel_of(about, r, by, kind);

	if (!p) {
		log_note(LOG_WARN, "target %s: capture by %s failed: out of memory", about->target,
		         by);
		if (done)
			done(arg, NULL);
		return;
	}
	p->done = done;
	p->arg = arg;
	if (!p->err.code) {
		give(st, p);
		return;
	}
	tell(st->s, p);
	parcel_free(p);
}

void store_prune(struct store *st)
{
	struct parcel *p = calloc(1, sizeof(*p));

	if (!p)
		return;
	p->is_prune = true;
	p->fd = -1;
	give(st, p);
}

void store_run(struct store *st)
{
	struct parcel *p;

	do {
		pthread_mutex_lock(&st->mutex);
		p = take_first(&st->kept);
		pthread_mutex_unlock(&st->mutex);
		if (p) {
			tell(st->s, p);
			parcel_free(p);
		}
	} while (p);
}

void store_drain(struct store *st)
{
	pthread_mutex_lock(&st->mutex);
	while (st->todo.first || st->works)
		pthread_cond_wait(&st->idle, &st->mutex);
	pthread_mutex_unlock(&st->mutex);
	store_run(st);
}

int store_new(struct service *s, struct store **ret, struct error *err)
{
	struct store *st = calloc(1, sizeof(*st));
	int r;

	if (!st)
		return error_oom(err);
	st->s = s;
	st->todo.end = &st->todo.first;
	st->kept.end = &st->kept.first;
	pthread_mutex_init(&st->mutex, NULL);
	pthread_cond_init(&st->wake, NULL);
	pthread_cond_init(&st->idle, NULL);
	r = thread_start(&st->thread, run, st);
	st->has_thread = r == 0;
	if (r) {
		store_free(st);
		return error_sys(err, r, "cannot start a thread");
	}
	*ret = st;
	return 0;
}

struct store *store_free(struct store *st)
{
	if (!st)
		return NULL;
	if (st->has_thread) {
		store_drain(st);
		pthread_mutex_lock(&st->mutex);
		st->stop = true;
		pthread_cond_signal(&st->wake);
		pthread_mutex_unlock(&st->mutex);
		pthread_join(st->thread, NULL);
	}
	pthread_cond_destroy(&st->idle);
	pthread_cond_destroy(&st->wake);
	pthread_mutex_destroy(&st->mutex);
	free(st);
	return NULL;
}
