/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/ladder_words.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/escape.h"

enum { ROOM_LEAST = 16 };

static const double mib = 1 << 20, gib = 1 << 30;

struct ladder_words ladder_words_on(FILE *to, size_t columns, bool colour, int64_t virtual_bytes)
{
	return (struct ladder_words){
		.to = to,
		.columns = columns,
		.colour = colour,
		.in_gib = (double)virtual_bytes >= 99999 * mib,
	};
}

const char *ladder_words_unit(const struct ladder_words *w)
{
	return w->in_gib ? "GiB" : "MiB";
}

const char *ladder_words_bytes(const struct ladder_words *w, int64_t v, bool sign, char *buf,
                               size_t size)
{
	double d = fabs((double)v), unit = w->in_gib ? gib : mib;
	const char *s = v < 0 ? "-" : sign && v > 0 ? "+" : "";

	/* a change of 0.1 says too little, and so do 0.1 GiB; 0.1 MiB beside one of 100 enough */
	if (d >= (sign || w->in_gib ? 1 : 0.05) * unit || v == 0)
		snprintf(buf, size, "%s%.1f", s, d / unit);
	else if (d >= mib)
		snprintf(buf, size, "%s%.1fM", s, d / mib);
	else if (d >= 1024)
		snprintf(buf, size, "%s%.0fK", s, d / 1024);
	else
		snprintf(buf, size, "%s%.0fB", s, d);
	return buf;
}

const char *ladder_words_paint(const struct ladder_words *w, const char *code)
{
	return w->colour ? code : "";
}

void ladder_words_wrap(const struct ladder_words *w, const char *text, size_t at, size_t indent)
{
	size_t room = w->columns > indent + ROOM_LEAST ? w->columns - indent : ROOM_LEAST;
	bool first = true;

	while (*text) {
		size_t n = strcspn(text, " ");
		cleanup_free char *word = strndup(text, n);
		size_t width = word ? escape_width(word) : 0;

		if (!first && at + 1 + width > w->columns) {
			fprintf(w->to, "\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			fputc(' ', w->to);
			at++;
		}
		if (word)
			at += escape_text(w->to, word, room);
		first = false;
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', w->to);
}

const char *ladder_words_kind(const char *kind, bool many)
{
	static const struct {
		const char *kind, *one, *many;
	} names[] = {
		{ "thread-stack", "thread stack", "thread stacks" },
		{ "main-stack", "main stack", "main stacks" },
		{ "glibc-arena", "glibc arena", "glibc arenas" },
		{ "glibc-mmapped", "glibc mmapped", "glibc mmapped" },
		{ "go", "Go", "Go" },
		{ "postgres", "PostgreSQL", "PostgreSQL" },
		{ "python", "CPython", "CPython" },
		{ "lua", "Lua", "Lua" },
		{ "jvm", "JVM", "JVM" },
		{ "v8", "V8", "V8" },
		{ "file", "file", "files" },
		{ "shared", "shared memory", "shared memory" },
		{ "guard", "guard pages", "guard pages" },
		{ "other-heap", "other heap", "other heaps" },
		{ "memwho", "memwho's own", "memwho's own" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(kind, names[i].kind))
			return many ? names[i].many : names[i].one;
	}
	return kind;
}
