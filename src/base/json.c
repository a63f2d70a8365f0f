/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

struct json json_on(FILE *to)
{
	return (struct json){ .to = to };
}

/* What goes before a value or a key: a comma, unless it is the first. */
static void separate(struct json *j)
{
	if (j->after_key) {
		j->after_key = false;
		return;
	}
	if (j->comma[j->depth])
		fputc(',', j->to);
	j->comma[j->depth] = true;
}

static void open_level(struct json *j, char bracket)
{
	separate(j);
	fputc(bracket, j->to);
	if (j->depth < JSON_MAX_DEPTH - 1)
		j->depth++;
	j->comma[j->depth] = false;
}

static void close_level(struct json *j, char bracket)
{
	fputc(bracket, j->to);
	if (j->depth > 0)
		j->depth--;
}

void json_object(struct json *j)
{
	open_level(j, '{');
}

void json_object_end(struct json *j)
{
	close_level(j, '}');
}

void json_array(struct json *j)
{
	open_level(j, '[');
}

void json_array_end(struct json *j)
{
	close_level(j, ']');
}

static void write_escaped(FILE *to, unsigned char c)
{
	switch (c) {
	case '"': fputs("\\\"", to); break;
	case '\\': fputs("\\\\", to); break;
	case '\n': fputs("\\n", to); break;
	case '\t': fputs("\\t", to); break;
	case '\r': fputs("\\r", to); break;
	default:
		/* '<' so that JSON can stand inside an HTML script element */
		if (c < 0x20 || c == 0x7f || c == '<')
			fprintf(to, "\\u%04x", c);
		else
			fputc(c, to);
	}
}

static void write_string(FILE *to, const char *s, size_t len)
{
	fputc('"', to);
	while (len) {
		size_t n = utf8_sequence(s, len);

		if (n == 1)
			write_escaped(to, (unsigned char)*s);
		else if (n == 0)
			fputs("\xef\xbf\xbd", to);
		else
			fwrite(s, 1, n, to);
		s += n ? n : 1;
		len -= n ? n : 1;
	}
	fputc('"', to);
}

void json_key(struct json *j, const char *key)
{
	separate(j);
	write_string(j->to, key, strlen(key));
	fputc(':', j->to);
	j->after_key = true;
}

void json_string_n(struct json *j, const char *s, size_t len)
{
	separate(j);
	write_string(j->to, s, len);
}

void json_string(struct json *j, const char *s)
{
	json_string_n(j, s, strlen(s));
}

void json_int(struct json *j, int64_t v)
{
	separate(j);
	fprintf(j->to, "%" PRId64, v);
}

void json_uint(struct json *j, uint64_t v)
{
	separate(j);
	fprintf(j->to, "%" PRIu64, v);
}

void json_double(struct json *j, double v)
{
	if (!isfinite(v)) {
		json_null(j);
		return;
	}
	separate(j);
	fprintf(j->to, "%.10g", v);
}

void json_bool(struct json *j, bool v)
{
	separate(j);
	fputs(v ? "true" : "false", j->to);
}

void json_null(struct json *j)
{
	separate(j);
	fputs("null", j->to);
}
