/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/push.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/steps.h"
#include "base/thread.h"
#include "serve/push_body.h"
#include "serve/push_http.h"

enum { MAX_WAIT_MS = 300000, FIRST_WAIT_MS = 1000, DEFAULT_BYTES = 64 << 20, SECRET_BYTES = 4096 };

struct push {
	char *name, *url, *tenant, *user, *password_file, *token_file, *ca_file;
	char **labels;
	size_t n_labels;
	enum push_body_kind kind;
	unsigned first_retry_ms;
	char host[256];

	pthread_mutex_t mutex; /* queue and counts */
	pthread_cond_t wake;
	struct push_queue queue;
	struct push_counts counts;
	pthread_mutex_t said_mutex; /* of ->said alone: never held for long */
	struct push_counts said;    /* for push_counts() */
	pthread_t thread;
	bool has_thread;
	atomic_bool stop;
};

enum push_outcome push_outcome_of(long status)
{
	if (status >= 200 && status < 300)
		return PUSH_SENT;
	if (status == 408 || status == 429 || status < 400 || status >= 500)
		return PUSH_AGAIN;
	return PUSH_REFUSED;
}

uint64_t push_wait_ms(unsigned first_ms, unsigned failures, double random)
{
	double wait = first_ms;

	while (failures-- > 1 && wait < MAX_WAIT_MS)
		wait *= 2;
	if (wait > MAX_WAIT_MS)
		wait = MAX_WAIT_MS;
	return (uint64_t)(wait * (0.5 + random / 2));
}

/* What has changed; with ->mutex held. */
static void say_counts(struct push *p)
{
	pthread_mutex_lock(&p->said_mutex);
	p->said = p->counts;
	p->said.queued = push_queue_length(&p->queue);
	p->said.queued_bytes = p->queue.bytes;
	p->said.overflowed += p->queue.dropped_full;
	p->said.damaged = p->queue.damaged;
	pthread_mutex_unlock(&p->said_mutex);
}

/* --- one attempt ------------------------------------------------------------------------- */

/* The first line of @path, or "" with a message. NULL: no path. */
static const char *read_secret(const char *path, char *to, size_t size)
{
	cleanup_fclose FILE *f = NULL;

	if (!path)
		return NULL;
	to[0] = '\0';
	f = fopen(path, "re");
	if (!f || !fgets(to, (int)size, f))
		log_note(LOG_WARN, "%s cannot be read", path);
	to[strcspn(to, "\r\n")] = '\0';
	return to;
}

static int make_body(struct push *p, const struct push_queue_item *item, char **body, size_t *len,
                     struct error *err)
{
	FILE *to = open_memstream(body, len);
	int r;

	if (!to)
		return error_oom(err);
	r = push_body_write(p->kind, item, p->host, (const char *const *)p->labels, p->n_labels, to,
	                    err);
	return fclose(to) && r == 0 ? error_oom(err) : r;
}

static int post(struct push *p, const struct push_queue_item *item, struct push_http_answer *answer,
                struct error *err)
{
	char password[SECRET_BYTES], token[SECRET_BYTES];
	cleanup_free char *body = NULL;
	size_t len = 0;
	int r = make_body(p, item, &body, &len, err);
	struct push_http_request q = { .url = p->url,
		                       .tenant = p->tenant,
		                       .user = p->user,
		                       .ca_file = p->ca_file,
		                       .type = push_body_type(p->kind),
		                       .body = body,
		                       .len = len,
		                       .stop = &p->stop };

	if (r < 0)
		return r;
	q.password = read_secret(p->password_file, password, sizeof(password));
	q.token = read_secret(p->token_file, token, sizeof(token));
	steps_before("push: send");
	r = push_http_post(&q, answer, err);
	explicit_bzero(password, sizeof(password));
	explicit_bzero(token, sizeof(token));
	return r;
}

static enum push_outcome outcome_of(const struct push *p, const struct push_http_answer *answer,
                                    const struct error *err)
{
	if (!answer)
		return err->code == -EBADMSG ? PUSH_REFUSED : PUSH_AGAIN;
	if (push_outcome_of(answer->status) == PUSH_SENT &&
	    push_body_is_rejected(p->kind, answer->raw, answer->raw_len))
		return PUSH_REFUSED;
	return push_outcome_of(answer->status);
}

/* @answer NULL: there was none, because of @err. */
static enum push_outcome judge(struct push *p, const struct push_http_answer *answer,
                               const struct error *err)
{
	enum push_outcome outcome = outcome_of(p, answer, err);
	char *to = p->counts.last_error;

	if (!answer)
		snprintf(to, sizeof(p->counts.last_error), "%.150s", err->message);
	else if (outcome != PUSH_SENT)
		snprintf(to, sizeof(p->counts.last_error), "status %ld: %s", answer->status,
		         answer->text);
	else
		to[0] = '\0';
	p->counts.sent += outcome == PUSH_SENT;
	p->counts.refused += outcome == PUSH_REFUSED;
	p->counts.retries += outcome == PUSH_AGAIN;
	if (outcome == PUSH_REFUSED)
		log_note(LOG_WARN, "push %s: refused: %s", p->name, to);
	return outcome;
}

/* The oldest item: sent, dropped, or to be sent again. With the lock held, which is given up
 * while the network is waited for. Returns false if there is none. */
static bool attempt(struct push *p, enum push_outcome *outcome, long *after_s)
{
	cleanup_free void *memory = NULL;
	struct push_queue_item item;
	struct push_http_answer answer = { 0 };
	struct error err = { 0 };
	uint64_t number = 0;
	int r = push_queue_peek(&p->queue, &item, &memory, &number, &err);

	if (r == 0)
		return false;
	if (r > 0) {
		pthread_mutex_unlock(&p->mutex);
		r = post(p, &item, &answer, &err);
		pthread_mutex_lock(&p->mutex);
	}
	if (r == -ECANCELED)
		return false;
	*outcome = judge(p, r < 0 ? NULL : &answer, &err);
	*after_s = answer.retry_after_s;
	if (*outcome != PUSH_AGAIN)
		push_queue_remove(&p->queue, number);
	return true;
}

/* --- the thread -------------------------------------------------------------------------- */

static double random_part(void)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = 1u << 31;
	return r / 4294967296.0;
}

/* Until then, or until it is all over; not by items that are added. */
static void wait_ms(struct push *p, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!atomic_load(&p->stop) &&
	       pthread_cond_timedwait(&p->wake, &p->mutex, &until) != ETIMEDOUT)
		;
}

static void *run(void *data)
{
	struct push *p = data;
	unsigned failures = 0;

	pthread_mutex_lock(&p->mutex);
	while (!atomic_load(&p->stop)) {
		enum push_outcome outcome = PUSH_SENT;
		bool is_there;
		long after_s = 0;
		uint64_t wait;

		is_there = attempt(p, &outcome, &after_s);
		say_counts(p);
		if (!is_there) {
			if (!atomic_load(&p->stop))
				pthread_cond_wait(&p->wake, &p->mutex);
			continue;
		}
		failures = outcome == PUSH_AGAIN ? failures + 1 : 0;
		if (!failures)
			continue;
		wait = push_wait_ms(p->first_retry_ms, failures, random_part());
		if ((uint64_t)after_s * 1000 > wait)
			wait = (uint64_t)after_s * 1000;
		wait_ms(p, wait < MAX_WAIT_MS ? wait : MAX_WAIT_MS);
	}
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

/* --- opening ----------------------------------------------------------------------------- */

static int copy(char **to, const char *from, struct error *err)
{
	if (!from)
		return 0;
	*to = strdup(from);
	return *to ? 0 : error_oom(err);
}

static int take_labels(struct push *p, const struct push_options *o, struct error *err)
{
	int r = 0;

	p->labels = calloc(o->n_labels + 1, sizeof(*p->labels));
	if (!p->labels)
		return error_oom(err);
	for (size_t i = 0; r == 0 && i < o->n_labels; i++) {
		if (!push_body_is_label(o->labels[i]))
			return error_set(err, EINVAL, "'%s' is no label: key=value", o->labels[i]);
		r = copy(&p->labels[i], o->labels[i], err);
		p->n_labels += r == 0;
	}
	return r;
}

static int take_url(struct push *p, const struct push_options *o, struct error *err)
{
	int len = (int)strlen(o->url);

	if (!strcmp(o->kind, "pyroscope"))
		p->kind = PUSH_BODY_PYROSCOPE;
	else if (!strcmp(o->kind, "parca"))
		p->kind = PUSH_BODY_PARCA;
	else if (!strcmp(o->kind, "otlp"))
		p->kind = PUSH_BODY_OTLP;
	else
		return error_set(err, EINVAL, "captures cannot be sent to '%s'", o->kind);
	if (strncmp(o->url, "http://", 7) != 0 && strncmp(o->url, "https://", 8) != 0)
		return error_set(err, EINVAL, "%s: not an http:// or https:// URL", o->url);
	while (len && o->url[len - 1] == '/')
		len--;
	if (asprintf(&p->url, "%.*s%s", len, o->url, push_body_path(p->kind)) < 0) {
		p->url = NULL;
		return error_oom(err);
	}
	return 0;
}

static int take_options(struct push *p, const struct push_options *o, struct error *err)
{
	int r = copy(&p->name, o->name, err);

	if (r == 0)
		r = take_url(p, o, err);
	if (r == 0)
		r = take_labels(p, o, err);
	if (r == 0)
		r = copy(&p->tenant, o->tenant, err);
	if (r == 0)
		r = copy(&p->user, o->user, err);
	if (r == 0)
		r = copy(&p->password_file, o->password_file, err);
	if (r == 0)
		r = copy(&p->token_file, o->token_file, err);
	if (r == 0)
		r = copy(&p->ca_file, o->ca_file, err);
	p->first_retry_ms = o->first_retry_ms ? o->first_retry_ms : FIRST_WAIT_MS;
	return r;
}

static void free_texts(struct push *p)
{
	char *texts[] = { p->name,          p->url,        p->tenant, p->user,
		          p->password_file, p->token_file, p->ca_file };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
	for (size_t i = 0; i < p->n_labels; i++)
		free(p->labels[i]);
	free(p->labels);
}

int push_check(const struct push_options *o, struct error *err)
{
	struct push p = { 0 };
	int r = take_options(&p, o, err);

	free_texts(&p);
	return r;
}

static void init_locks(struct push *p)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&p->mutex, NULL);
	pthread_mutex_init(&p->said_mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

int push_open(const struct push_options *o, struct push **ret, struct error *err)
{
	cleanup(push_closep) struct push *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return error_oom(err);
	p->queue.folder = -1;
	init_locks(p);
	if (gethostname(p->host, sizeof(p->host) - 1) < 0)
		snprintf(p->host, sizeof(p->host), "unknown");
	r = take_options(p, o, err);
	if (r == 0)
		r = push_queue_open(o->queue, o->max_bytes ? o->max_bytes : DEFAULT_BYTES,
		                    &p->queue, err);
	if (r == 0)
		r = push_http_init(err);
	if (r < 0)
		return r;
	say_counts(p);
	r = thread_start(&p->thread, run, p);
	if (r)
		return error_sys(err, r, "push %s", o->name);
	p->has_thread = true;
	*ret = take_ptr(p);
	return 0;
}

struct push *push_close(struct push *p)
{
	if (!p)
		return NULL;
	pthread_mutex_lock(&p->mutex);
	atomic_store(&p->stop, true);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->mutex);
	if (p->has_thread)
		pthread_join(p->thread, NULL);
	push_queue_close(&p->queue);
	free_texts(p);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->said_mutex);
	pthread_mutex_destroy(&p->mutex);
	free(p);
	return NULL;
}

void push_closep(struct push **p)
{
	*p = push_close(*p);
}

int push_add(struct push *p, const struct push_queue_item *item, struct error *err)
{
	int r;

	pthread_mutex_lock(&p->mutex);
	r = push_queue_add(&p->queue, item, err);
	p->counts.overflowed += r < 0;
	say_counts(p);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->mutex);
	return r;
}

bool push_last(struct push *p, uint64_t *ret)
{
	bool has;

	pthread_mutex_lock(&p->mutex);
	has = p->queue.has_last;
	*ret = p->queue.last;
	pthread_mutex_unlock(&p->mutex);
	return has;
}

int push_note(struct push *p, uint64_t number, struct error *err)
{
	int r;

	pthread_mutex_lock(&p->mutex);
	r = push_queue_note(&p->queue, number, err);
	pthread_mutex_unlock(&p->mutex);
	return r;
}

void push_counts(struct push *p, struct push_counts *ret)
{
	pthread_mutex_lock(&p->said_mutex);
	*ret = p->said;
	pthread_mutex_unlock(&p->said_mutex);
}

const char *push_name(const struct push *p)
{
	return p->name;
}
