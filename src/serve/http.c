/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/http.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "serve/answer.h"
#include "serve/host.h"
#include "serve/http_reply.h"
#include "serve/peer.h"
#include "serve/route.h"
#include "serve/spool.h"
#include "serve/tls.h"

enum {
	MEMORY_PER_CONNECTION = 12 << 10, /* headers and all; more is 431 */
	MAX_BODY = WORKER_TEXT_BYTES - 1,
	OTHER_FDS = 128,      /* that we need beside connections */
	RESULT_FDS = 1024,    /* results that are sent */
	CUT_MS = 200,         /* between two searches for slow clients */
	ANSWER_SECONDS = 300, /* to take one */
};

/* A connection, from accept to close. */
struct connection {
	struct connection *next, **at;
	int fd;
	bool identified, is_asking, is_cut;
	struct peer peer;
	uint64_t since_ns; /* of the connection, or of the last request's end or answer */
};

/* A request, from its headers to its answer. */
struct request {
	struct request *next, **at; /* of those that wait */
	struct http *http;
	struct MHD_Connection *c;
	struct connection *connection;
	struct route route;
	struct peer peer;
	char *body; /* NULL: none */
	size_t n_body;
	bool is_too_large;
	struct jobs_waiter waiter;
	bool is_suspended, is_done;
	struct http_reply reply; /* when is_done */
};

struct http {
	struct service *s;
	struct MHD_Daemon *daemon;
	int fd;
	struct connection *connections;
	struct request *waiting;
	struct http_counts counts;
	uint64_t cut_ns; /* when slow clients were looked for */
	bool is_unix, is_leaving, distrusts;
};

/* ---- connections ---- */

static unsigned count_of_uid(const struct http *h, uid_t uid)
{
	unsigned n = 0;

	for (const struct connection *c = h->connections; c; c = c->next)
		n += c->identified && c->peer.uid == uid;
	return n;
}

static void cut(struct http *h, struct connection *c)
{
	if (c->is_cut)
		return;
	c->is_cut = true;
	shutdown(c->fd, SHUT_RDWR); /* the library finds out and closes it */
	h->counts.cut++;
}

/* The library counts connections of an IP address, but not of a Unix socket's user. */
static void begin_connection(struct http *h, struct MHD_Connection *c, void **ret)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct connection *new = calloc(1, sizeof(*new));

	if (!new || !info) {
		free(new);
		return;
	}
	new->fd = info->connect_fd;
	new->since_ns = clock_now_ns();
	if (h->is_unix) {
		peer_identify(new->fd, &new->peer);
		new->identified = true;
	}
	if (h->is_unix && new->peer.uid &&
	    count_of_uid(h, new->peer.uid) >= h->s->config.connections_per_address)
		cut(h, new);
	new->next = h->connections;
	new->at = &h->connections;
	if (new->next)
		new->next->at = &new->next;
	h->connections = new;
	h->counts.connections++;
	*ret = new;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
	struct http *h = arg;
	struct connection *old = *context;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		begin_connection(h, c, context);
		return;
	}
	if (!old)
		return;
	*old->at = old->next;
	if (old->next)
		old->next->at = old->at;
	h->counts.connections--;
	free(old);
	*context = NULL;
}

/* Who says a byte now and then is not idle for the library: a request has to come, and an
 * answer to be taken, within a time. */
static void cut_slow(struct http *h)
{
	uint64_t now = clock_now_ns();
	uint64_t to_ask = 2 * h->s->config.timeout_s * 1000000000ull;

	if (now - h->cut_ns < CUT_MS * 1000000ull)
		return;
	h->cut_ns = now;

	for (struct connection *c = h->connections; c; c = c->next) {
		uint64_t most = c->is_asking ? ANSWER_SECONDS * 1000000000ull : to_ask;

		if (c->since_ns && now > c->since_ns && now - c->since_ns > most)
			cut(h, c);
	}
}

/* ---- who asks ---- */

static const char *header(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* By the kernel's word; where the service has a token or certificates, TCP needs those. */
static void identify(struct request *r)
{
	struct service *s = r->http->s;
	struct connection *c = r->connection;
	bool by_kernel = r->http->is_unix || !(s->token || s->tls.client_ca);

	r->peer = (struct peer){ .uid = (uid_t)-1 };
	if (c && by_kernel && !c->identified) {
		peer_identify(c->fd, &c->peer);
		c->identified = true;
	}
	if (c && by_kernel)
		r->peer = c->peer;
	if (s->token && peer_has_token(header(r->c, MHD_HTTP_HEADER_AUTHORIZATION), s->token))
		r->peer.sees_all = r->peer.is_known = true;
	if (s->tls.client_ca && !r->http->distrusts && tls_is_client_trusted(r->c))
		r->peer.sees_all = r->peer.is_known = true;
}

/* 200, or why not. */
static unsigned check_access(struct request *r, struct error *err)
{
	struct service *s = r->http->s;
	const char *host = header(r->c, MHD_HTTP_HEADER_HOST);

	if (!r->http->is_unix && !host_is_ours(&s->config, host)) {
		error_set(err, EACCES, "this Host is none of ours");
		error_hint(err, "hosts = NAME in [serve] lets a name in");
		return 403;
	}
	if (host_is_cross_site(header(r->c, "Sec-Fetch-Site"), header(r->c, "Origin"),
	                       r->http->is_unix ? NULL : host)) {
		error_set(err, EACCES, "a page of another site may not ask here");
		return 403;
	}
	if (r->route.to == ROUTE_HEALTHZ)
		return 200;
	identify(r);
	if (r->http->is_unix || r->peer.sees_all)
		return 200;
	if (s->token || s->tls.client_ca) {
		error_set(err, EACCES,
		          s->token ? "the token is missing or wrong"
		                   : "a client certificate is needed");
		return s->token ? 401 : 403;
	}
	return 200;
}

/* ---- arguments ---- */

struct arguments {
	struct route_argument items[ROUTE_MAX_ARGUMENTS + 1];
	size_t n;
};

static enum MHD_Result on_argument(void *arg, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
	struct arguments *a = arg;

	(void)kind;
	if (a->n > ROUTE_MAX_ARGUMENTS)
		return MHD_NO;
	a->items[a->n++] = (struct route_argument){ key, value };
	return MHD_YES;
}

/* ---- captures ---- */

static unsigned status_of(const struct error *err)
{
	switch (-err->code) {
	case ESRCH:
	case ENOENT: return 404;
	case EACCES:
	case EPERM: return 403;
	case EINVAL: return 400;
	case EBUSY: return 409;
	case ENOTSUP:
	case ENODATA: return 501;
	case EAGAIN: /* a profile that is still empty */
	case EINTR: return 503;
	default: return 500;
	}
}

static void unlink_waiting(struct request *r)
{
	if (!r->at)
		return;
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	r->at = NULL;
}

/* The library asks on_request() again. */
static void resume(struct request *r)
{
	unlink_waiting(r);
	if (!r->is_suspended)
		return;
	r->is_suspended = false;
	MHD_resume_connection(r->c);
}

static void on_capture_done(struct jobs_waiter *w, const struct jobs_result *result)
{
	struct request *r = (struct request *)((char *)w - offsetof(struct request, waiter));

	r->is_done = true;
	r->reply.has_no_gc = r->route.wants_gc && result->is_of_last_gc;
	if (result->err.code)
		http_reply_error(&r->reply, status_of(&result->err), &result->err, NULL);
	else
		http_reply_file(&r->reply, result->fd, result->bytes, r->route.format);
	resume(r);
}

static void suspend(struct request *r)
{
	struct http *h = r->http;

	r->is_suspended = true;
	r->next = h->waiting;
	r->at = &h->waiting;
	if (r->next)
		r->next->at = &r->next;
	h->waiting = r;
	MHD_suspend_connection(r->c);
}

static void fill_key(const struct request *r, const struct watched_item *item, struct jobs_key *key)
{
	memset(key, 0, sizeof(*key)); /* with its padding: keys are compared */
	snprintf(key->target, sizeof(key->target), "%s", item->name);
	snprintf(key->format, sizeof(key->format), "%s", r->route.format ? r->route.format : "");
	key->kind = r->route.kind;
	key->seconds = r->route.seconds;
	key->n_processes = item->n_processes;
	memcpy(key->processes, item->processes, sizeof(key->processes));
	if (r->route.kind == WORKER_SYMBOL)
		key->text = r->body;
}

static void busy(struct request *r, const struct jobs_running *running)
{
	struct error err;

	error_set(&err, EBUSY, "another capture of this target is running");
	http_reply_error(&r->reply, 409, &err, running);
}

static void full(struct request *r)
{
	struct error err;

	error_set(&err, EAGAIN, "as many captures are running as may (slots)");
	http_reply_error(&r->reply, 429, &err, NULL);
}

/* True: the reply is there. */
static bool begin_capture(struct request *r, const struct jobs_key *key,
                          struct jobs_running *running)
{
	struct error err = { 0 };

	switch (jobs_ask(r->http->s->jobs, key, &r->waiter, running, &err)) {
	case JOBS_WAIT: suspend(r); return false;
	case JOBS_BUSY: busy(r, running); return true;
	case JOBS_FULL: full(r); return true;
	default: http_reply_error(&r->reply, status_of(&err), &err, NULL); return true;
	}
}

/* True: the reply is there. */
static bool capture(struct request *r, const struct watched_item *item)
{
	struct jobs_running running;
	struct jobs_key key;

	fill_key(r, item, &key);
	r->waiter.done = on_capture_done;
	return begin_capture(r, &key, &running);
}
/* ---- the spool ---- */

static int open_stored(struct request *r, const char *id, int *ret, struct error *err)
{
	struct spool *s = r->http->s->spool;
	struct spool_capture c;
	int rc = s ? spool_find(s, id, &c, err) : error_set(err, ENOENT, "there is no spool");

	/* the same answer: who may not have it is not told that it is there */
	if (rc == 0 && !answer_may_list(r->http->s, &r->peer, c.target))
		rc = error_set(err, ENOENT, "there is no capture %s", id);
	return rc < 0 ? rc : spool_open_capture(s, id, ret, err);
}

/* True: the reply is there. */
static bool stored(struct request *r)
{
	struct jobs_running running;
	struct error err = { 0 };
	struct jobs_key key;
	int rc;

	memset(&key, 0, sizeof(key));
	snprintf(key.format, sizeof(key.format), "%s", r->route.format);
	key.kind = r->route.to == ROUTE_STORED ? WORKER_STORED : WORKER_DIFF;
	rc = r->route.to == ROUTE_STORED ? 0
	                                 : open_stored(r, r->route.id_before, &key.inputs[0], &err);
	key.n_inputs = rc == 0 && r->route.to != ROUTE_STORED;
	if (rc == 0)
		rc = open_stored(r, r->route.id, &key.inputs[key.n_inputs], &err);
	if (rc == 0)
		key.n_inputs++;
	else if (key.n_inputs)
		close(key.inputs[0]);
	if (rc < 0) {
		http_reply_error(&r->reply, status_of(&err), &err, NULL);
		return true;
	}
	r->waiter.done = on_capture_done;
	return begin_capture(r, &key, &running);
}

/* ---- answers ---- */

static int of_target(struct request *r, struct watched_item *item, FILE *to, struct error *err)
{
	switch (r->route.to) {
	case ROUTE_CAPTURES: return answer_captures(r->http->s, &r->peer, item->name, to, err);
	case ROUTE_TARGET: answer_target(r->http->s, item, to); return 0;
	case ROUTE_INDEX: answer_index(item, to); return 0;
	case ROUTE_SYMBOL: /* GET: Go says that there are symbols */
		fputs("num_symbols: 1\n", to);
		return 0;
	default: return answer_cmdline(item, to, err);
	}
}

static enum metrics_format metrics_of(struct request *r)
{
	return metrics_choose(header(r->c, MHD_HTTP_HEADER_ACCEPT));
}

static int of_all(struct request *r, FILE *to, struct error *err)
{
	const struct service *s = r->http->s;

	switch (r->route.to) {
	case ROUTE_METRICS: return answer_metrics(s, metrics_of(r), to, err);
	case ROUTE_CAPTURES: return answer_captures(s, &r->peer, NULL, to, err);
	case ROUTE_HEALTHZ: fputs("ok\n", to); return 0;
	case ROUTE_PAGE: answer_page(s, &r->peer, to); return 0;
	case ROUTE_SD: answer_sd(s, &r->peer, header(r->c, MHD_HTTP_HEADER_HOST), to); return 0;
	default: answer_targets(s, &r->peer, to); return 0;
	}
}

static const char *type_of(struct request *r)
{
	switch (r->route.to) {
	case ROUTE_METRICS: return metrics_content_type(metrics_of(r));
	case ROUTE_TARGETS:
	case ROUTE_TARGET:
	case ROUTE_SD:
	case ROUTE_CAPTURES: return "application/json";
	case ROUTE_PAGE: return "text/html; charset=utf-8";
	default: return "text/plain; charset=utf-8";
	}
}

/* True: the reply is there. */
static bool dispatch(struct request *r)
{
	cleanup(http_text_clear) struct http_text text = { 0 };
	struct watched_item *item = NULL;
	struct error err = { 0 };
	int rc = 0;

	if (r->route.to == ROUTE_STORED || r->route.to == ROUTE_STORED_DIFF)
		return stored(r);
	if (r->route.target[0])
		rc = watched_find(r->http->s->watched, r->route.target, &r->peer, &item, &err);
	if (rc == 0 &&
	    (r->route.to == ROUTE_CAPTURE || (r->route.to == ROUTE_SYMBOL && r->route.is_post)))
		return capture(r, item);
	if (rc == 0)
		rc = http_text_begin(&text, &err);
	if (rc == 0 && item)
		rc = of_target(r, item, text.to, &err);
	else if (rc == 0)
		rc = of_all(r, text.to, &err);
	if (rc < 0)
		http_reply_error(&r->reply, status_of(&err), &err, NULL);
	else
		http_reply_text(&r->reply, 200, &text, type_of(r));
	return true;
}

/* ---- the library's calls ---- */

static enum MHD_Result send_reply(struct request *r)
{
	if (r->reply.status >= 400 && r->reply.status != 404)
		r->http->counts.refused++;
	if (r->connection)
		r->connection->since_ns = clock_now_ns();
	r->reply.is_last = r->http->is_leaving;
	return http_reply_send(&r->reply, r->c, &r->route, r->waiter.joined);
}

/* The headers are there. */
static enum MHD_Result begin(struct request *r, const char *url, const char *method)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		r->c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const char *length = header(r->c, MHD_HTTP_HEADER_CONTENT_LENGTH);
	struct arguments a = { .n = 0 };
	struct error err = { 0 }, denied = { 0 };
	unsigned status, access;

	r->connection = info ? info->socket_context : NULL;
	if (r->connection)
		r->connection->is_asking = true;
	r->http->counts.requests++;
	MHD_get_connection_values(r->c, MHD_GET_ARGUMENT_KIND, on_argument, &a);
	status = route_parse(method, url, a.items, a.n, (unsigned)r->http->s->config.max_seconds,
	                     &r->route, &err);
	access = check_access(r, &denied);
	if (status != 200 || access != 200) {
		/* who may not ask is not told what there is */
		http_reply_error(&r->reply, access != 200 ? access : status,
		                 access != 200 ? &denied : &err, NULL);
		return send_reply(r);
	}
	if (length && strtoull(length, NULL, 10) > MAX_BODY) {
		error_set(&err, E2BIG, "the body is longer than %d bytes", MAX_BODY);
		http_reply_error(&r->reply, 413, &err, NULL);
		return send_reply(r);
	}
	return MHD_YES;
}

/* A body whose length was not told (chunked) is cut here. */
static void take_body(struct request *r, const char *data, size_t n)
{
	if (!r->body)
		r->body = calloc(1, MAX_BODY + 1);
	if (!r->body || r->n_body + n > MAX_BODY) {
		r->is_too_large = true;
		return;
	}
	memcpy(r->body + r->n_body, data, n);
	r->n_body += n;
}

static enum MHD_Result finish(struct request *r)
{
	struct error err;

	if (r->is_done)
		return send_reply(r);
	if (r->is_too_large) {
		error_set(&err, E2BIG, "the body is longer than %d bytes", MAX_BODY);
		http_reply_error(&r->reply, 413, &err, NULL);
		return send_reply(r);
	}
	if (!r->body && r->route.to == ROUTE_SYMBOL && r->route.is_post)
		r->body = strdup("");
	return dispatch(r) ? send_reply(r) : MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n_data, void **context)
{
	struct request *r = *context;

	(void)version;
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return MHD_NO;
		r->http = arg;
		r->c = c;
		*context = r;
		return begin(r, url, method);
	}
	if (*n_data) {
		take_body(r, data, *n_data);
		*n_data = 0;
		return MHD_YES;
	}
	return finish(r);
}

static void on_completed(void *arg, struct MHD_Connection *c, void **context,
                         enum MHD_RequestTerminationCode how)
{
	struct http *h = arg;
	struct request *r = *context;

	(void)c;
	(void)how;
	if (!r)
		return;
	jobs_leave(h->s->jobs, &r->waiter);
	unlink_waiting(r);
	if (r->connection) {
		r->connection->is_asking = false;
		r->connection->since_ns = clock_now_ns();
	}
	http_reply_clear(&r->reply);
	free(r->body);
	free(r);
	*context = NULL;
}

static void on_log(void *arg, const char *fmt, va_list ap)
{
	(void)arg; /* what clients do wrong is no news; counts tell how often */
	(void)fmt;
	(void)ap;
}

/* ---- the whole ---- */

/* As many as descriptors allow; some stay for results that are sent. */
static unsigned connection_limit(const struct config *c)
{
	struct rlimit l;
	uint64_t most = c->connections, room = 1;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur == RLIM_INFINITY)
		return (unsigned)most;
	if (l.rlim_cur > OTHER_FDS)
		room = l.rlim_cur - OTHER_FDS;
	room -= room / 2 < RESULT_FDS ? room / 2 : RESULT_FDS;
	return (unsigned)(room < most ? room : most);
}

/* The socket that the library gets is its own: it closes it, also when it does not start. */
static struct MHD_Daemon *start_daemon(struct http *h, const struct http_options *o)
{
	const struct config *c = o->config;
	int listen_fd = fcntl(o->listen_fd, F_DUPFD_CLOEXEC, 0);
	unsigned per_address = (unsigned)c->connections_per_address;
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, o->tls->cert },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, o->tls->key },
		{ MHD_OPTION_HTTPS_MEM_TRUST, 0, o->tls->client_ca },
		{ MHD_OPTION_END, 0, NULL },
	};
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

	if (!o->tls->cert)
		tls[0] = tls[3];
	else
		flags |= MHD_USE_TLS;
	if (listen_fd < 0)
		return NULL;
	return MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
		connection_limit(c), MHD_OPTION_PER_IP_CONNECTION_LIMIT, per_address,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)c->timeout_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_PER_CONNECTION,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, h, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

int http_start(struct service *s, const struct http_options *o, struct http **ret,
               struct error *err)
{
	struct http *h = calloc(1, sizeof(*h));
	const union MHD_DaemonInfo *info;

	if (!h)
		return error_oom(err);
	h->s = s;
	h->is_unix = o->is_unix;
	h->daemon = start_daemon(h, o);
	info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		free(h);
		return error_set(err, EIO, "the HTTP library does not start");
	}
	h->fd = info->epoll_fd;
	*ret = h;
	return 0;
}

void http_leave(struct http *h, bool distrust)
{
	h->is_leaving = true;
	h->distrusts |= distrust;
}

struct http *http_stop(struct http *h)
{
	if (!h)
		return NULL;
	while (h->waiting) {
		struct request *r = h->waiting;
		struct error err;

		jobs_leave(h->s->jobs, &r->waiter);
		error_set(&err, EINTR, "the service ends");
		http_reply_error(&r->reply, 503, &err, NULL);
		r->is_done = true;
		resume(r);
	}
	MHD_run(h->daemon);
	MHD_stop_daemon(h->daemon);
	free(h);
	return NULL;
}

int http_fd(const struct http *h)
{
	return h->fd;
}

bool http_has_waiters(const struct http *h)
{
	return h->waiting != NULL;
}

/* A client that has closed its end, or half of it, does not wait any more. */
static bool is_gone(const struct request *r)
{
	struct pollfd p = { .fd = r->connection ? r->connection->fd : -1, .events = POLLRDHUP };

	return p.fd >= 0 && poll(&p, 1, 0) > 0 &&
	       (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

static void leave_gone(struct http *h)
{
	for (struct request *r = h->waiting, *next; r; r = next) {
		struct error err;

		next = r->next;
		if (!is_gone(r))
			continue;
		h->counts.gone++;
		jobs_leave(h->s->jobs, &r->waiter);
		error_set(&err, EPIPE, "the client has gone");
		http_reply_error(&r->reply, 400, &err, NULL);
		r->is_done = true;
		resume(r);
	}
}

void http_run(struct http *h)
{
	leave_gone(h);
	cut_slow(h);
	MHD_run(h->daemon);
}

int http_timeout_ms(const struct http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(h->daemon, &ms) != MHD_YES)
		return -1;
	return ms > 1000 ? 1000 : (int)ms;
}

void http_close_listener(struct http *h)
{
	int fd = MHD_quiesce_daemon(h->daemon);

	if (fd >= 0)
		close(fd);
}

void http_counts(const struct http *h, struct http_counts *ret)
{
	*ret = h->counts;
}
