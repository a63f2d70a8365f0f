/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/pushes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "profile/profile.h"
#include "profile/profile_file.h"

struct pushes {
	struct push **push;
	size_t n;
};

static void pushes_freep(struct pushes **p)
{
	pushes_free(*p);
}

static struct push_options options_of(const struct config_push *c, const char *queue)
{
	return (struct push_options){ .name = c->name,
		                      .kind = c->kind,
		                      .url = c->url,
		                      .tenant = c->tenant,
		                      .user = c->user,
		                      .password_file = c->password_file,
		                      .token_file = c->token_file,
		                      .ca_file = c->ca_file,
		                      .labels = (const char *const *)c->labels.items,
		                      .n_labels = c->labels.n,
		                      .queue = queue,
		                      .max_bytes = c->queue_bytes };
}

int pushes_check(const struct config *c, struct error *err)
{
	if (c->n_pushes && !c->spool)
		return error_set(err, EINVAL, "%s:%u: pushes need a spool", c->path, c->line);
	for (size_t i = 0; i < c->n_pushes; i++) {
		const struct push_options o = options_of(&c->pushes[i], NULL);

		if (push_check(&o, err) < 0)
			return error_context(err, "%s:%u: push \"%s\"", c->path, c->pushes[i].line,
			                     c->pushes[i].name);
	}
	return 0;
}

static int open_one(const struct config *c, const struct config_push *conf, struct push **ret,
                    struct error *err)
{
	char queue[4096];
	struct push_options o = options_of(conf, queue);

	if ((size_t)snprintf(queue, sizeof(queue), "%s/.push-%s", c->spool, conf->name) >=
	    sizeof(queue))
		return error_set(err, ENAMETOOLONG, "the spool's path is too long");
	return push_open(&o, ret, err);
}

static int open_all(const struct config *c, struct pushes *p, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n_pushes; i++) {
		r = open_one(c, &c->pushes[i], &p->push[i], err);
		p->n += r == 0;
	}
	return r;
}

int pushes_new(const struct config *c, struct pushes **ret, struct error *err)
{
	cleanup(pushes_freep) struct pushes *p = calloc(1, sizeof(*p));
	int r = pushes_check(c, err);

	if (r < 0)
		return r;
	if (p)
		p->push = calloc(c->n_pushes + 1, sizeof(struct push *));
	if (!p || !p->push)
		return error_oom(err);
	r = open_all(c, p, err);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}

/* ---- another configuration ---- */

static bool is_same_text(const char *a, const char *b)
{
	return !a == !b && (!a || !strcmp(a, b));
}

static bool is_same_list(const struct config_list *a, const struct config_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

static bool is_same(const struct config_push *a, const struct config_push *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->kind, b->kind) && !strcmp(a->url, b->url) &&
	       is_same_text(a->tenant, b->tenant) && is_same_text(a->user, b->user) &&
	       is_same_text(a->password_file, b->password_file) &&
	       is_same_text(a->token_file, b->token_file) && is_same_text(a->ca_file, b->ca_file) &&
	       a->queue_bytes == b->queue_bytes && is_same_list(&a->labels, &b->labels);
}

/* The one that runs with just these options, taken out of @p; NULL: none. */
static struct push *take_same(struct pushes *p, const struct config *old,
                              const struct config_push *conf)
{
	for (size_t i = 0; i < old->n_pushes; i++) {
		if (!is_same(&old->pushes[i], conf))
			continue;
		for (size_t k = 0; k < p->n; k++)
			if (p->push[k] && !strcmp(push_name(p->push[k]), conf->name))
				return take_ptr(p->push[k]);
	}
	return NULL;
}

void pushes_reload(struct pushes *p, const struct config *old, const struct config *c)
{
	struct push **next = calloc(c->n_pushes + 1, sizeof(struct push *));
	bool same_place = is_same_text(old->spool, c->spool);
	struct pushes fresh = { .push = next };
	struct error err;

	if (!next) {
		log_note(LOG_WARN, "pushes stay as they were: out of memory");
		return;
	}
	for (size_t i = 0; same_place && i < c->n_pushes; i++)
		next[i] = take_same(p, old, &c->pushes[i]);
	/* before the others open: a queue is one's only */
	for (size_t i = 0; i < p->n; i++)
		push_close(p->push[i]);
	for (size_t i = 0; i < c->n_pushes; i++) {
		struct push *one = next[i];

		next[i] = NULL;
		if (!one && open_one(c, &c->pushes[i], &one, &err) < 0)
			log_note(LOG_WARN, "push %s: %s", c->pushes[i].name, err.message);
		if (one)
			next[fresh.n++] = one;
	}
	free(p->push);
	*p = fresh;
}

struct pushes *pushes_free(struct pushes *p)
{
	if (!p)
		return NULL;
	for (size_t i = 0; i < p->n; i++)
		push_close(p->push[i]);
	free(p->push);
	free(p);
	return NULL;
}

static int read_all(int fd, char *to, size_t len, struct error *err)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = pread(fd, to + at, len - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_sys(err, n < 0 ? errno : EIO, "cannot read the capture");
		at += (size_t)n;
	}
	return 0;
}

static int item_of(const struct spool_capture *c, const char *kind, int fd, uint64_t len,
                   char **memory, struct push_queue_item *ret, struct error *err)
{
	int r;

	if (len > PUSH_QUEUE_MAX_ITEM)
		return error_set(err, EFBIG, "too large to be sent");
	*memory = malloc(len + 1);
	if (!*memory)
		return error_oom(err);
	r = read_all(fd, *memory, len, err);
	if (r < 0)
		return r;
	*ret = (struct push_queue_item){ .unix_ns = c->unix_ns, .data = *memory, .len = len };
	snprintf(ret->id, sizeof(ret->id), "%s", c->id);
	snprintf(ret->target, sizeof(ret->target), "%s", c->target);
	snprintf(ret->trigger, sizeof(ret->trigger), "%s", c->trigger);
	snprintf(ret->kind, sizeof(ret->kind), "%s", kind);
	return 0;
}

static void add_one(struct push *p, const struct push_queue_item *item)
{
	struct error err;

	if (push_add(p, item, &err) < 0)
		log_note(LOG_WARN, "push %s: %s is not sent: %s", push_name(p), item->id,
		         err.message);
}

void pushes_add(struct pushes *p, const struct spool_capture *c, const char *kind, int fd,
                uint64_t len)
{
	cleanup_free char *memory = NULL;
	struct push_queue_item item;
	struct error err;

	if (!p || !p->n)
		return;
	if (item_of(c, kind, fd, len, &memory, &item, &err) < 0) {
		log_note(LOG_WARN, "%s is not sent: %s", c->id, err.message);
		return;
	}
	for (size_t i = 0; i < p->n; i++)
		add_one(p->push[i], &item);
}

/* ---- what was kept and not queued ---- */

/* By the types of its values: the spool does not say of what kind a capture is. */
static const char *kind_of(int fd)
{
	static const struct {
		const char *type, *kind;
	} kinds[] = {
		{ "alloc_space", "heap" },
		{ "pss_bytes", "ladder" },
		{ "mapped_bytes", "map" },
		{ "inuse_space", "refs" },
	};
	cleanup(profile_freep) struct profile *p = NULL;
	struct error ignored;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (profile_file_read(path, &p, &ignored) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (profile_find_type(p, kinds[i].type) >= 0)
			return kinds[i].kind;
	return NULL;
}

static void add_late(struct push *p, struct spool *spool, const struct spool_capture *c)
{
	cleanup_close int fd = -1;
	cleanup_free char *memory = NULL;
	struct push_queue_item item;
	struct error err = { 0 };
	const char *kind;

	if (spool_open_capture(spool, c->id, &fd, &err) < 0)
		return;
	kind = kind_of(fd);
	if (!kind)
		error_set(&err, EBADMSG, "it cannot be read");
	else if (item_of(c, kind, fd, c->file_bytes, &memory, &item, &err) == 0) {
		log_note(LOG_INFO, "push %s: %s had not been queued", push_name(p), c->id);
		add_one(p, &item);
		return;
	}
	log_note(LOG_WARN, "push %s: %s is not sent: %s", push_name(p), c->id, err.message);
}

static void catch_up(struct push *p, struct spool *spool)
{
	cleanup_free struct spool_capture *all = NULL;
	struct error err = { 0 };
	uint64_t last = 0;
	size_t n = 0, late = 0;
	bool has_last = push_last(p, &last);
	int r = spool_list(spool, NULL, has_last ? PUSHES_MOST_LATE : 1, &all, &n, &err);

	while (r == 0 && late < n && all[late].number > last)
		late++;
	if (r == 0 && !has_last)
		r = push_note(p, n ? all[0].number : 0, &err);
	for (size_t i = has_last ? late : 0; i > 0; i--)
		add_late(p, spool, &all[i - 1]);
	if (r < 0)
		log_note(LOG_WARN, "push %s: what was kept before is not looked through: %s",
		         push_name(p), err.message);
}

void pushes_catch_up(struct pushes *p, struct spool *spool)
{
	for (size_t i = 0; p && spool && i < p->n; i++)
		catch_up(p->push[i], spool);
}

int pushes_rows(struct pushes *p, struct metrics_page_push **ret, size_t *n, struct error *err)
{
	size_t n_rows = p ? p->n : 0;
	struct metrics_page_push *rows = calloc(n_rows + 1, sizeof(*rows));

	if (!rows)
		return error_oom(err);
	for (size_t i = 0; i < n_rows; i++) {
		struct push_counts c;

		push_counts(p->push[i], &c);
		rows[i] = (struct metrics_page_push){ .name = push_name(p->push[i]),
			                              .queued = c.queued,
			                              .queued_bytes = c.queued_bytes,
			                              .sent = c.sent,
			                              .dropped_refused = c.refused,
			                              .dropped_full = c.overflowed + c.damaged,
			                              .retries = c.retries };
	}
	*ret = rows;
	*n = n_rows;
	return 0;
}
