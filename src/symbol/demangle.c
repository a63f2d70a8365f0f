/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/demangle.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libiberty/demangle.h>
#undef ARRAY_SIZE /* libiberty.h has its own */

#include "base/cleanup.h"

/* What GCC and LLVM append to the name of a copy or a part of a function. */
static const char *const clones[] = {
	"constprop", "isra", "part",     "cold", "lto_priv", "localalias",
	"llvm",      "hot",  "unlikely", "warm", "exit",     "startup",
};

/* Does [s, end) consist of .WORD and .NUMBER parts, the first a clone's word? */
static bool is_clone_suffix(const char *s, const char *end)
{
	size_t len;

	s++; /* the dot */
	len = strcspn(s, ".");
	if (len > (size_t)(end - s))
		len = end - s;
	for (size_t i = 0; i < ARRAY_SIZE(clones); i++) {
		if (strlen(clones[i]) == len && !memcmp(clones[i], s, len)) {
			s += len;
			while (s < end && (*s == '.' || isdigit((unsigned char)*s)))
				s++;
			return s == end || is_clone_suffix(s - 1, end);
		}
	}
	return false;
}

size_t demangle_bare_length(const char *symbol)
{
	size_t len = strlen(symbol);
	const char *at = len > 1 ? memchr(symbol + 1, '@', len - 1) : NULL, *end, *dot;

	if (at)
		len = at - symbol;
	end = symbol + len;
	dot = len > 1 ? memchr(symbol + 1, '.', len - 1) : NULL;
	for (; dot; dot = memchr(dot + 1, '.', end - dot - 1)) {
		if (is_clone_suffix(dot, end))
			return dot - symbol;
	}
	return len;
}

struct output {
	char text[DEMANGLE_MAX_OUTPUT];
	size_t len;
	jmp_buf too_long;
};

/* libiberty's printer can't be told to stop, and a short name can print as
 * gigabytes (each substitution doubles it). It works on the stack only, so it
 * may be left by a jump. */
static void print(const char *s, size_t len, void *arg)
{
	struct output *out = arg;

	if (len > sizeof(out->text) - out->len)
		longjmp(out->too_long, 1);
	memcpy(out->text + out->len, s, len);
	out->len += len;
}

static bool run(const char *symbol, struct output *out)
{
	bool rust = !strncmp(symbol, "_R", 2) || strstr(symbol, "17h");

	if (setjmp(out->too_long))
		return false;
	if (rust && rust_demangle_callback(symbol, DMGL_ANSI, print, out))
		return out->len > 0;
	out->len = 0;
	return !strncmp(symbol, "_Z", 2) &&
	       cplus_demangle_v3_callback(symbol, DMGL_ANSI, print, out) && out->len > 0;
}

char *demangle_name(const char *symbol)
{
	size_t len = demangle_bare_length(symbol);
	cleanup_free char *bare = strndup(symbol, len);
	cleanup_free struct output *out = NULL;

	if (!bare)
		return NULL;
	if ((strncmp(bare, "_Z", 2) && strncmp(bare, "_R", 2)) || len > DEMANGLE_MAX_INPUT)
		return take_ptr(bare);
	out = malloc(sizeof(*out));
	if (!out)
		return NULL;
	out->len = 0;
	if (!run(bare, out))
		return take_ptr(bare);
	return strndup(out->text, out->len);
}
