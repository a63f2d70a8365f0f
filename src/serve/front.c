/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "target/proc.h"

enum { MAX_PEM = 1 << 20 };

static bool is_same_text(const char *a, const char *b)
{
	return !a == !b && (!a || !strcmp(a, b));
}

/* ---- certificates ---- */

static void tls_clear(struct front_tls *t)
{
	free(t->cert);
	if (t->key)
		explicit_bzero(t->key, strlen(t->key));
	free(t->key);
	free(t->client_ca);
	*t = (struct front_tls){ 0 };
}

static int read_pem(const char *path, char **ret, struct error *err)
{
	int r = path ? proc_read(AT_FDCWD, path, MAX_PEM, ret, NULL) : 0;

	return r < 0 ? error_sys(err, -r, "cannot read %s", path) : 0;
}

static int read_tls(const struct config *c, struct front_tls *ret, struct error *err)
{
	int r = read_pem(c->tls_cert, &ret->cert, err);

	if (r == 0)
		r = read_pem(c->tls_key, &ret->key, err);
	if (r == 0)
		r = read_pem(c->tls_client_ca, &ret->client_ca, err);
	return r;
}

static bool is_same_tls(const struct front_tls *a, const struct front_tls *b)
{
	return is_same_text(a->cert, b->cert) && is_same_text(a->key, b->key) &&
	       is_same_text(a->client_ca, b->client_ca);
}

/* ---- the first one ---- */

/* What systemd has handed over may be anything: the rule is the same. */
static int check_inherited(struct service *s, bool is_unix, struct error *err)
{
	s->address.len = sizeof(s->address.to);
	s->address.is_unix = is_unix;
	if (getsockname(s->listen_fd, (struct sockaddr *)&s->address.to, &s->address.len) < 0)
		return error_sys(err, errno, "the inherited socket");
	if (is_unix || listen_is_loopback(&s->address) || s->token || s->tls.client_ca)
		return 0;
	error_set(err, EPERM, "the inherited socket is reached from other machines");
	return error_hint(err, "set token_file or tls_cert, tls_key and tls_client_ca");
}

static int open_socket(const struct config *c, struct listen_address *address, int *ret,
                       struct error *err)
{
	cleanup_close int fd = -1;
	int r = listen_parse(c->listen, address, err);

	if (r == 0)
		r = listen_open(address, c->listen, &fd, err);
	if (r == 0 && address->is_unix && c->group) {
		r = listen_set_group(address, c->group, err);
		if (r < 0)
			listen_remove(address);
	}
	if (r == 0)
		*ret = take_fd(fd);
	return r;
}

int front_open(struct service *s, struct error *err)
{
	bool is_unix = false;
	int r = read_tls(&s->config, &s->tls, err);

	if (r < 0)
		return r;
	s->listen_fd = listen_inherited(&is_unix);
	s->is_inherited = s->listen_fd >= 0;
	return s->is_inherited ? check_inherited(s, is_unix, err)
	                       : open_socket(&s->config, &s->address, &s->listen_fd, err);
}

int front_start(struct service *s, struct error *err)
{
	const struct http_options o = { .listen_fd = s->listen_fd,
		                        .is_unix = s->address.is_unix,
		                        .tls = &s->tls,
		                        .config = &s->config };

	return http_start(s, &o, &s->http, err);
}

/* ---- another one ---- */

static bool is_same_socket(const struct service *s, const struct config *c)
{
	return s->is_inherited || !strcmp(s->config.listen, c->listen);
}

static bool has_same_limits(const struct config *a, const struct config *b)
{
	return a->connections == b->connections && a->timeout_s == b->timeout_s &&
	       a->connections_per_address == b->connections_per_address;
}

static int prepare(struct service *s, const struct config *c, struct front *f, struct error *err)
{
	bool same = is_same_socket(s, c);
	int r = read_tls(c, &f->tls, err);

	if (r == 0 && same && s->address.is_unix && !s->is_inherited && c->group &&
	    !is_same_text(s->config.group, c->group))
		r = listen_set_group(&s->address, c->group, err);
	if (r < 0 || (same && has_same_limits(&s->config, c) && is_same_tls(&s->tls, &f->tls)))
		return r;
	if (!same)
		r = open_socket(c, &f->address, &f->listen_fd, err);
	if (r == 0) {
		const struct http_options o = { .listen_fd = same ? s->listen_fd : f->listen_fd,
			                        .is_unix = same ? s->address.is_unix
			                                        : f->address.is_unix,
			                        .tls = &f->tls,
			                        .config = c };

		r = http_start(s, &o, &f->http, err);
	}
	return r;
}

int front_prepare(struct service *s, const struct config *c, struct front *ret, struct error *err)
{
	cleanup(front_drop) struct front f = { .listen_fd = -1 };
	int r = prepare(s, c, &f, err);

	if (r < 0)
		return r;
	*ret = f;
	f = (struct front){ .listen_fd = -1 };
	return 0;
}

void front_drop(struct front *f)
{
	f->http = http_stop(f->http);
	if (f->listen_fd >= 0) {
		listen_remove(&f->address);
		close(f->listen_fd);
		f->listen_fd = -1;
	}
	tls_clear(&f->tls);
}

static void add_counts(struct http_counts *to, const struct http *h)
{
	struct http_counts c;

	http_counts(h, &c);
	to->requests += c.requests;
	to->refused += c.refused;
	to->gone += c.gone;
	to->cut += c.cut;
	to->connections += c.connections;
}

/* The i-th of those that leave has gone. */
static void end_leaving(struct service *s, size_t i)
{
	add_counts(&s->past, s->leaving[i]);
	s->past.connections = 0;
	http_stop(s->leaving[i]);
	s->n_leaving--;
	memmove(&s->leaving[i], &s->leaving[i + 1], (s->n_leaving - i) * sizeof(s->leaving[0]));
}

bool front_use(struct service *s, struct front *f)
{
	if (!f->http)
		return false;
	if (s->n_leaving == SERVICE_MAX_LEAVING)
		end_leaving(s, 0);
	http_close_listener(s->http);
	s->leaving[s->n_leaving++] = s->http;
	for (size_t i = 0; i < s->n_leaving; i++)
		http_leave(s->leaving[i], !is_same_text(s->tls.client_ca, f->tls.client_ca));
	s->http = f->http;
	f->http = NULL;
	tls_clear(&s->tls);
	s->tls = f->tls;
	f->tls = (struct front_tls){ 0 };
	if (f->listen_fd >= 0) {
		front_close(s);
		s->listen_fd = f->listen_fd;
		s->address = f->address;
		f->listen_fd = -1;
	}
	front_tell(s);
	return true;
}

/* ---- all of them ---- */

void front_tell(const struct service *s)
{
	char text[128];

	listen_text(s->listen_fd, text, sizeof(text));
	log_note(LOG_INFO, "listening on %s%s, %zu targets", text, s->tls.cert ? " (TLS)" : "",
	         s->config.n_targets);
}

void front_run(struct service *s)
{
	http_run(s->http);
	for (size_t i = s->n_leaving; i > 0; i--) {
		struct http_counts c;

		http_run(s->leaving[i - 1]);
		http_counts(s->leaving[i - 1], &c);
		if (!c.connections)
			end_leaving(s, i - 1);
	}
}

bool front_has_waiters(const struct service *s)
{
	bool any = http_has_waiters(s->http);

	for (size_t i = 0; i < s->n_leaving; i++)
		any |= http_has_waiters(s->leaving[i]);
	return any;
}

void front_counts(const struct service *s, struct http_counts *ret)
{
	*ret = s->past;
	add_counts(ret, s->http);
	for (size_t i = 0; i < s->n_leaving; i++)
		add_counts(ret, s->leaving[i]);
}

void front_stop(struct service *s)
{
	while (s->n_leaving)
		end_leaving(s, s->n_leaving - 1);
	s->http = http_stop(s->http);
}

void front_close(struct service *s)
{
	if (s->listen_fd >= 0 && !s->is_inherited)
		listen_remove(&s->address);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	s->listen_fd = -1;
}
