/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_frame.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 1024 };

/* Of what a path consists: github.com/a-b/c.v2/server.Client, /srv/app/main.lua */
static bool is_path(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (unsigned char)c >= 0x80 || (c && strchr("_./-~%+", c));
}

static size_t path_length(const char *s)
{
	size_t n = 0;

	while (is_path(s[n]))
		n++;
	return n;
}

/* Behind the last '/' of the @len bytes that has something behind it; 0: none. */
static size_t behind_slash(const char *s, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i + 1 < len; i++) {
		if (s[i] == '/')
			at = i + 1;
	}
	return at;
}

void refs_frame_short(const char *text, char *buf, size_t size)
{
	size_t used = 0;

	while (*text && used + 1 < size) {
		size_t len = path_length(text), skip = behind_slash(text, len);

		/* one that stands alone is no path: "a / b" */
		if (!len)
			len = 1;
		for (size_t i = skip; i < len && used + 1 < size; i++)
			buf[used++] = text[i];
		text += len;
	}
	buf[used] = '\0';
}

/* The package of a qualified name: "main" of main.host; 0: it is none. */
static size_t package_length(const char *s, size_t len)
{
	size_t from = behind_slash(s, len);

	/* "[…].name" is an element's field */
	if (!len || !strncmp(s, "\xe2\x80\xa6", 3) || s[0] == '.' || (s[0] >= '0' && s[0] <= '9'))
		return 0;
	for (size_t i = from; i < len; i++) {
		if (s[i] == '.')
			return i + 1 < len || from ? i : 0;
	}
	return 0;
}

void refs_frame_module(const char *text, char *buf, size_t size)
{
	const char *last = text;

	if (!strncmp(text, "shared by ", 10) || !strncmp(text, "[unknown ", 9)) {
		snprintf(buf, size, "%s", *text == 's' ? "shared" : text);
		return;
	}
	for (const char *s = text; *s;) {
		size_t len = path_length(s), package = package_length(s, len);

		if (package) {
			snprintf(buf, size, "%.*s", (int)package, s);
			return;
		}
		if (*s == ' ')
			last = s + 1;
		s += len ? len : 1;
	}
	snprintf(buf, size, "%s", last);
}

int refs_frame(struct profile *to, const char *text, uint32_t *ret, struct error *err)
{
	struct profile_frame frame = { 0 };
	char name[TEXT_BYTES], module[TEXT_BYTES];
	int r;

	refs_frame_short(text, name, sizeof(name));
	refs_frame_module(text, module, sizeof(module));
	r = profile_string(to, name, strlen(name), &frame.name, err);
	if (r == 0)
		r = profile_string(to, module, strlen(module), &frame.module, err);
	return r < 0 ? r : profile_frame(to, &frame, ret, err);
}
