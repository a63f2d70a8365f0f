/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/push_http.h"

#include <errno.h>
#include <string.h>

#include <curl/curl.h>

#include "base/cleanup.h"

enum { CONNECT_SECONDS = 10, WHOLE_SECONDS = 60 };

int push_http_init(struct error *err)
{
	CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);

	return code ? error_set(err, EIO, "libcurl: %s", curl_easy_strerror(code)) : 0;
}

static size_t take_text(char *data, size_t size, size_t n, void *to)
{
	struct push_http_answer *a = to;
	size_t have = strlen(a->text), len = size * n, room = sizeof(a->text) - 1 - have;

	if (len < room)
		room = len;
	memcpy(a->raw + have, data, room);
	a->raw_len = have + room;
	memcpy(a->text + have, data, room);
	for (char *c = a->text + have; c < a->text + have + room; c++)
		if ((unsigned char)*c < ' ')
			*c = ' ';
	a->text[have + room] = '\0';
	return size * n; /* the rest is read and dropped */
}

static int is_over(void *data, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct push_http_request *r = data;

	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return r->stop && atomic_load(r->stop);
}

static void easy_cleanup(CURL **c)
{
	curl_easy_cleanup(*c);
}

static void free_list(struct curl_slist **l)
{
	curl_slist_free_all(*l);
}

/* A line more; false: out of memory. */
static bool add_header(struct curl_slist **l, const char *name, const char *value)
{
	cleanup_free char *line = NULL;
	struct curl_slist *longer;

	if (asprintf(&line, "%s: %s", name, value) < 0) {
		line = NULL;
		return false;
	}
	longer = curl_slist_append(*l, line);
	if (longer)
		*l = longer;
	return longer;
}

static bool make_headers(const struct push_http_request *r, struct curl_slist **l)
{
	cleanup_free char *bearer = NULL;

	if (r->token && asprintf(&bearer, "Bearer %s", r->token) < 0) {
		bearer = NULL;
		return false;
	}
	/* no 100-continue: servers that do not know it cost a second each time */
	return add_header(l, "Content-Type", r->type) && add_header(l, "Expect", "") &&
	       (!r->tenant || add_header(l, "X-Scope-OrgID", r->tenant)) &&
	       (!bearer || add_header(l, "Authorization", bearer));
}

static void set_options(CURL *c, const struct push_http_request *r, struct push_http_answer *a,
                        const struct curl_slist *headers, char *reason)
{
	curl_easy_setopt(c, CURLOPT_URL, r->url);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_POST, 1L);
	curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
	curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L); /* profiles go where they were sent to */
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);       /* we are a thread of many */
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)WHOLE_SECONDS);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "memwho");
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_text);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, reason);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, is_over);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, r);
	if (r->ca_file)
		curl_easy_setopt(c, CURLOPT_CAINFO, r->ca_file);
	if (r->user) {
		curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(c, CURLOPT_USERNAME, r->user);
		curl_easy_setopt(c, CURLOPT_PASSWORD, r->password ? r->password : "");
	}
}

int push_http_post(const struct push_http_request *r, struct push_http_answer *ret,
                   struct error *err)
{
	cleanup(easy_cleanup) CURL *c = curl_easy_init();
	cleanup(free_list) struct curl_slist *headers = NULL;
	struct push_http_answer a = { 0 };
	char reason[CURL_ERROR_SIZE] = "";
	curl_off_t after = 0;
	CURLcode code;

	if (!c || !make_headers(r, &headers))
		return error_oom(err);
	set_options(c, r, &a, headers, reason);
	code = curl_easy_perform(c);
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return error_set(err, ECANCELED, "stopped");
	if (code)
		return error_set(err, EIO, "%s", reason[0] ? reason : curl_easy_strerror(code));
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &a.status);
	curl_easy_getinfo(c, CURLINFO_RETRY_AFTER, &after);
	a.retry_after_s = after > 0 && after < 86400 ? (long)after : 0;
	*ret = a;
	return 0;
}
