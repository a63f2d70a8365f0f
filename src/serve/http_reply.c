/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/http_reply.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "serve/answer.h"

static const struct {
	const char *format, *type;
} types[] = {
	{ "json", "application/json" },
	{ "speedscope", "application/json" },
	{ "html", "text/html; charset=utf-8" },
	{ "svg", "image/svg+xml" },
	{ "pprof", "application/octet-stream" },
	{ "", "text/plain; charset=utf-8" }, /* names of addresses */
};

/* Pages and pictures carry all that they need; they may ask nobody but us. */
static const char policy[] =
	"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
	"img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
	"frame-ancestors 'none'";

void http_reply_text(struct http_reply *r, unsigned status, struct http_text *t, const char *type)
{
	fclose(t->to);
	t->to = NULL;
	r->status = status;
	r->type = type;
	r->response = t->text ? MHD_create_response_from_buffer(t->len, t->text,
	                                                        MHD_RESPMEM_MUST_FREE)
	                      : NULL;
	if (r->response)
		t->text = NULL;
}

void http_reply_file(struct http_reply *r, int fd, uint64_t bytes, const char *format)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	r->status = 200;
	r->type = "text/plain; charset=utf-8";
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (!strcmp(types[i].format, format ? format : ""))
			r->type = types[i].type;
	}
	r->response = copy >= 0 ? MHD_create_response_from_fd64(bytes, copy) : NULL;
	if (!r->response && copy >= 0)
		close(copy);
}

void http_reply_error(struct http_reply *r, unsigned status, const struct error *err,
                      const struct jobs_running *running)
{
	r->status = status;
	r->is_error = true;
	r->err = *err;
	r->has_running = running != NULL;
	if (running)
		r->running = *running;
}

void http_reply_clear(struct http_reply *r)
{
	if (r->response)
		MHD_destroy_response(r->response);
	r->response = NULL;
}

static void make_error(struct http_reply *r, bool is_pprof)
{
	cleanup(http_text_clear) struct http_text t = { 0 };
	struct error ignored;

	if (http_text_begin(&t, &ignored) < 0)
		return;
	/* go tool pprof shows a text of X-Go-Pprof to its user (driver/fetch.go, statusCodeError)
	 */
	if (is_pprof && !r->has_running)
		fprintf(t.to, "%s\n%s%s", r->err.message, r->err.hint, r->err.hint[0] ? "\n" : "");
	else
		answer_error(t.to, &r->err, r->has_running ? &r->running : NULL);
	http_reply_text(r, r->status, &t,
	                is_pprof && !r->has_running ? "text/plain; charset=utf-8"
	                                            : "application/json");
}

static void put_header(struct http_reply *r, const char *name, const char *value)
{
	MHD_add_response_header(r->response, name, value);
}

static void put_headers(struct http_reply *r, const struct route *route, bool joined)
{
	char text[96];

	put_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, r->type);
	put_header(r, "X-Content-Type-Options", "nosniff");
	put_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	put_header(r, "Content-Security-Policy", policy);
	put_header(r, "Referrer-Policy", "no-referrer");
	if (joined)
		put_header(r, "X-Memwho-Joined", "1");
	if (r->has_no_gc)
		put_header(r, "X-Memwho-GC", "not run; as of the last one that the process ran");
	if (r->is_error && route->is_pprof)
		put_header(r, "X-Go-Pprof", "1");
	if (r->status == 429 || r->status == 503)
		put_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	if (r->status == 409 && r->has_running && r->running.ends_in_s >= 0) {
		snprintf(text, sizeof(text), "%.0f", r->running.ends_in_s + 1);
		put_header(r, MHD_HTTP_HEADER_RETRY_AFTER, text);
	}
	if (r->status == 405)
		put_header(r, MHD_HTTP_HEADER_ALLOW, "GET");
	if (r->status == 401)
		put_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
	/* a body that is not read would be taken for the next request */
	if (r->status == 413 || r->is_last)
		put_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	if (!r->is_error && route->file_name && strcmp(route->format, "table") != 0) {
		snprintf(text, sizeof(text), "attachment; filename=\"%s%s\"", route->file_name,
		         route->seconds ? "-delta" : "");
		put_header(r, MHD_HTTP_HEADER_CONTENT_DISPOSITION, text);
	}
}

enum MHD_Result http_reply_send(struct http_reply *r, struct MHD_Connection *c,
                                const struct route *route, bool joined)
{
	enum MHD_Result result;

	if (r->is_error)
		make_error(r, route->is_pprof);
	if (!r->response)
		return MHD_NO; /* no memory, no descriptor: the connection is closed */
	put_headers(r, route, joined);
	result = MHD_queue_response(c, r->status, r->response);
	http_reply_clear(r);
	return result;
}
