/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/route.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { GET = 1, POST = 2 };
enum { SECONDS = 1, GC = 2, DEBUG = 4, KIND = 8, FORMAT = 16, BEFORE = 32, AFTER = 64 };

struct path {
	const char *text; /* "*" is a target's name or pid, "?" a capture's id */
	unsigned methods;
	enum route_to to;
	enum worker_kind kind;
	unsigned arguments;
	const char *format;
	const char *file_name;
};

/* The only list. */
static const struct path paths[] = {
	{ "/", GET, ROUTE_PAGE },
	{ "/healthz", GET, ROUTE_HEALTHZ },
	{ "/metrics", GET, ROUTE_METRICS },
	{ "/sd", GET, ROUTE_SD },
	{ "/captures", GET, ROUTE_CAPTURES },
	{ "/captures/?", GET, ROUTE_STORED, 0, FORMAT, "pprof" },
	{ "/captures/?/diff", GET, ROUTE_STORED_DIFF, 0, FORMAT | BEFORE, "html" },
	{ "/diff", GET, ROUTE_STORED_DIFF, 0, FORMAT | BEFORE | AFTER, "html" },
	{ "/targets", GET, ROUTE_TARGETS },
	{ "/targets/*", GET, ROUTE_TARGET },
	{ "/targets/*/captures", GET, ROUTE_CAPTURES },
	{ "/targets/*/ladder", GET, ROUTE_CAPTURE, WORKER_LADDER, FORMAT, "json" },
	{ "/targets/*/map", GET, ROUTE_CAPTURE, WORKER_MAP, SECONDS | FORMAT, "json" },
	{ "/targets/*/refs", GET, ROUTE_CAPTURE, WORKER_REFS, FORMAT, "json" },
	{ "/targets/*/flamegraph", GET, ROUTE_CAPTURE, WORKER_HEAP, SECONDS | KIND | FORMAT,
	  "html" },
	{ "/targets/*/debug/pprof", GET, ROUTE_INDEX },
	{ "/targets/*/debug/pprof/", GET, ROUTE_INDEX },
	{ "/targets/*/debug/pprof/heap", GET, ROUTE_CAPTURE, WORKER_HEAP, SECONDS | GC | DEBUG,
	  "pprof", "heap" },
	{ "/targets/*/debug/pprof/allocs", GET, ROUTE_CAPTURE, WORKER_HEAP, SECONDS | GC | DEBUG,
	  "pprof", "allocs" },
	{ "/targets/*/debug/pprof/symbol", GET | POST, ROUTE_SYMBOL, WORKER_SYMBOL },
	{ "/targets/*/debug/pprof/cmdline", GET, ROUTE_CMDLINE },
};

static const struct {
	const char *name;
	enum worker_kind kind;
} kinds[] = {
	{ "heap", WORKER_HEAP },
	{ "map", WORKER_MAP },
	{ "refs", WORKER_REFS },
	{ "ladder", WORKER_LADDER },
};

/* What a browser or a script may ask for, and not what is for a terminal. */
static const char *const formats[] = { "json",   "html",       "svg",  "pprof",
	                               "folded", "speedscope", "table" };

/* ---- paths ---- */

static bool take_word(const char **text, char *ret, size_t size)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t n = strspn(*text, allowed);

	if (!n || n >= size || **text == '.')
		return false;
	memcpy(ret, *text, n);
	ret[n] = '\0';
	*text += n;
	return true;
}

static bool matches(const char *pattern, const char *text, struct route *r)
{
	r->target[0] = r->id[0] = '\0';
	for (; *pattern; pattern++) {
		if (*pattern == '*' || *pattern == '?') {
			bool took = *pattern == '*' ? take_word(&text, r->target, sizeof(r->target))
			                            : take_word(&text, r->id, sizeof(r->id));
			if (!took)
				return false;
		} else if (*pattern != *text++) {
			return false;
		}
	}
	return *text == '\0';
}

static const struct path *find_path(const char *text, struct route *r)
{
	for (size_t i = 0; strlen(text) <= ROUTE_MAX_PATH && i < ARRAY_SIZE(paths); i++) {
		if (matches(paths[i].text, text, r))
			return &paths[i];
	}
	return NULL;
}

/* go tool pprof http://HOST/ asks for a CPU profile. */
static unsigned not_found(const char *path, struct error *err)
{
	static const char profile[] = "/debug/pprof/profile";
	size_t n = strlen(path);

	error_set(err, ENOENT, "there is nothing at this path");
	if (n >= sizeof(profile) - 1 && !strcmp(path + n - (sizeof(profile) - 1), profile))
		error_hint(err, "there are no CPU profiles here; ask for "
		                "/targets/NAME/debug/pprof/heap");
	else
		error_hint(err, "/targets lists the targets, / shows them");
	return 404;
}

/* ---- arguments ---- */

/* Decimal digits, 1 to @max. */
static bool parse_number(const char *text, unsigned max, unsigned *ret)
{
	unsigned long v;

	if (!text || !isdigit((unsigned char)*text) || strlen(text) > 9 ||
	    text[strspn(text, "0123456789")])
		return false;
	v = strtoul(text, NULL, 10);
	if (v > max)
		return false;
	*ret = (unsigned)v;
	return true;
}

static int parse_seconds(const char *text, unsigned max, struct route *r, struct error *err)
{
	unsigned v = 0;

	/* the words of net/http/pprof/pprof.go (Go 1.26), which clients may know */
	if (!parse_number(text, 999999999, &v) || !v)
		return error_set(err, EINVAL,
		                 "invalid value for \"seconds\" - must be a positive integer");
	if (v > max)
		return error_set(err, EINVAL, "\"seconds\" is at most %u here (max_seconds)", max);
	r->seconds = v;
	return 0;
}

static int parse_kind(const char *text, struct route *r, struct error *err)
{
	for (size_t i = 0; text && i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kinds[i].name, text)) {
			r->kind = kinds[i].kind;
			return 0;
		}
	}
	return error_set(err, EINVAL, "\"kind\" is one of heap, map, refs, ladder");
}

static int parse_format(const char *text, struct route *r, struct error *err)
{
	for (size_t i = 0; text && i < ARRAY_SIZE(formats); i++) {
		if (!strcmp(formats[i], text)) {
			r->format = formats[i];
			return 0;
		}
	}
	return error_set(err, EINVAL,
	                 "\"format\" is one of json, html, svg, pprof, folded, "
	                 "speedscope, table");
}

static int parse_id(const char *text, const char *name, char *ret, struct error *err)
{
	if (!text || !take_word(&text, ret, ROUTE_ID_BYTES) || *text)
		return error_set(err, EINVAL, "\"%s\" is the id of a capture", name);
	return 0;
}

/* Go: debug=0 is the protobuf, another number is text. */
static int parse_debug(const char *text, struct route *r, struct error *err)
{
	unsigned v = 0;

	if (!parse_number(text, 2, &v))
		return error_set(err, EINVAL, "invalid value for \"debug\" - must be 0, 1 or 2");
	if (v)
		r->format = "table";
	return 0;
}

/* Go collects its garbage before it answers. From outside that cannot be asked for, and the answer
 * says so where it matters. */
static int parse_gc(const char *text, struct route *r, struct error *err)
{
	unsigned v = 0;

	if (!parse_number(text, 999999999, &v))
		return error_set(err, EINVAL, "invalid value for \"gc\" - must be an integer");
	r->wants_gc = v > 0;
	return 0;
}

static int parse_argument(const struct route_argument *a, const struct path *path,
                          unsigned max_seconds, struct route *r, struct error *err)
{
	if (path->arguments & SECONDS && !strcmp(a->key, "seconds"))
		return parse_seconds(a->value, max_seconds, r, err);
	if (path->arguments & GC && !strcmp(a->key, "gc"))
		return parse_gc(a->value, r, err);
	if (path->arguments & DEBUG && !strcmp(a->key, "debug"))
		return parse_debug(a->value, r, err);
	if (path->arguments & KIND && !strcmp(a->key, "kind"))
		return parse_kind(a->value, r, err);
	if (path->arguments & FORMAT && !strcmp(a->key, "format"))
		return parse_format(a->value, r, err);
	if (path->arguments & BEFORE && !strcmp(a->key, "before"))
		return parse_id(a->value, a->key, r->id_before, err);
	if (path->arguments & AFTER && !strcmp(a->key, "after"))
		return parse_id(a->value, a->key, r->id, err);
	/* POST symbol: what is behind "?" is the text of some clients */
	if (r->is_pprof)
		return 0;
	return error_set(err, EINVAL, "this path has no argument \"%.40s\"", a->key);
}

static int parse_arguments(const struct route_argument *a, size_t n, const struct path *path,
                           unsigned max_seconds, struct route *r, struct error *err)
{
	if (n > ROUTE_MAX_ARGUMENTS)
		return error_set(err, EINVAL, "more than %d arguments", ROUTE_MAX_ARGUMENTS);
	for (size_t i = 0; i < n; i++) {
		int rc = parse_argument(&a[i], path, max_seconds, r, err);

		if (rc < 0)
			return rc;
		for (size_t k = 0; k < i; k++) {
			if (!strcmp(a[k].key, a[i].key))
				return error_set(err, EINVAL, "\"%.40s\" is there twice", a[i].key);
		}
	}
	if (r->is_pprof && r->seconds && !strcmp(r->format, "table"))
		return error_set(err, EINVAL, "seconds and debug params are incompatible");
	if (r->seconds && (r->kind == WORKER_REFS || r->kind == WORKER_LADDER))
		return error_set(err, EINVAL, "this kind is of one moment: leave \"seconds\" out");
	if (r->to == ROUTE_STORED_DIFF && !(r->id_before[0] && r->id[0]))
		return error_set(err, EINVAL,
		                 "\"before\" or \"after\" is missing: the id of a "
		                 "capture");
	return 0;
}

unsigned route_parse(const char *method, const char *path, const struct route_argument *arguments,
                     size_t n_arguments, unsigned max_seconds, struct route *ret, struct error *err)
{
	struct route r = { 0 };
	const struct path *found = find_path(path, &r);
	unsigned bit = !strcmp(method, "GET") || !strcmp(method, "HEAD") ? GET
	               : !strcmp(method, "POST")                         ? POST
	                                                                 : 0;

	ret->is_pprof = strstr(path, "/debug/pprof") != NULL;
	if (!found)
		return not_found(path, err);
	if (!(found->methods & bit)) {
		error_set(err, EINVAL, "the method is not allowed here");
		return 405;
	}
	r.is_pprof = ret->is_pprof;
	r.is_post = bit == POST;
	r.to = found->to;
	r.kind = found->kind;
	r.format = found->format;
	r.file_name = found->file_name;
	if (parse_arguments(arguments, n_arguments, found, max_seconds, &r, err) < 0)
		return 400;
	*ret = r;
	return 200;
}
