/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/ladder_explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/samples.h"

enum { TEXT_BYTES = 512, NUMBER_BYTES = 40 };

struct explain {
	struct report *to;
	const struct report_table *settings; /* key before after */
	const struct ladder_changes *changes;
};

static int add(const struct explain *e, const char *text, const char *kind, const char *setting,
               int64_t bytes, struct error *err)
{
	static const char *const columns[] = { "text", "kind", "setting", "bytes" };
	const struct report_figure cells[] = {
		report_cell_text(text),
		report_cell_text(kind),
		report_cell_text(setting),
		report_cell_int(bytes),
	};
	struct report_table *t;
	int r = report_table(e->to, "explanations", columns, ARRAY_SIZE(columns), &t, err);

	return r < 0 ? r : report_row(t, cells, err);
}

/* "65,536 kB" */
static const char *kib(int64_t bytes, char buf[NUMBER_BYTES])
{
	char digits[24];
	size_t n, out = 0;

	snprintf(digits, sizeof(digits), "%" PRId64, bytes / 1024);
	n = strlen(digits);
	for (size_t i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0)
			buf[out++] = ',';
		buf[out++] = digits[i];
	}
	snprintf(buf + out, NUMBER_BYTES - out, " kB");
	return buf;
}

/* Row of setting @key, if it differs; its index in *ret. */
static bool differs(const struct explain *e, const char *key, size_t *ret)
{
	for (size_t i = 0; e->settings && i < e->settings->n_rows; i++) {
		if (!strcmp(ladder_rows_text(e->settings, i, "key"), key)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static const char *value(const struct explain *e, size_t row, const char *side)
{
	const char *v = ladder_rows_text(e->settings, row, side);

	return *v ? v : "not set";
}

/* ---- arenas: malloc makes one for a thread until there are MALLOC_ARENA_MAX
 * (else 8 a cpu, 64-bit): malloc/arena.c, arena_get2() of glibc */

struct arenas {
	size_t before, after;
	int64_t bytes; /* of those that only one of the two has */
	const struct ladder_row *example;
};

static struct arenas count_arenas(const struct explain *e)
{
	struct arenas a = { 0 };

	for (size_t i = 0; i < e->changes->n; i++) {
		const struct ladder_change *c = &e->changes->items[i];

		if (strcmp(c->kind, "glibc-arena") != 0 || !strcmp(c->name, "main arena"))
			continue;
		a.before += c->before.n;
		a.after += c->after.n;
		if (c->before.n && c->after.n)
			continue;
		a.bytes = samples_sum(a.bytes, c->before.n ? c->before.virtual_bytes
		                                           : c->after.virtual_bytes);
		if (!a.example)
			a.example = c->before.n ? c->before.row : c->after.row;
	}
	return a;
}

static bool arena_setting(const struct explain *e, size_t *row)
{
	/* the second is in the tunables' own name */
	if (differs(e, "env MALLOC_ARENA_MAX", row))
		return true;
	if (differs(e, "env GLIBC_TUNABLES", row))
		return strstr(value(e, *row, "before"), "arena") ||
		       strstr(value(e, *row, "after"), "arena");
	return differs(e, "cpus allowed", row);
}

static int explain_arenas(const struct explain *e, struct error *err)
{
	struct arenas a = count_arenas(e);
	char text[TEXT_BYTES], size[NUMBER_BYTES], made[256] = "";
	size_t row, n = a.before > a.after ? a.before - a.after : a.after - a.before;
	const char *key;

	if (!n || !a.example || !arena_setting(e, &row))
		return 0;
	key = ladder_rows_text(e->settings, row, "key");
	if (a.example->detail[0])
		snprintf(made, sizeof(made), ", %.200s", a.example->detail);
	snprintf(text, sizeof(text),
	         "%zu glibc arena%s %s in %s (%s%s): %.60s is %.60s in the first and %.60s in the "
	         "second",
	         n, n == 1 ? "" : "s", n == 1 ? "is" : "are",
	         a.before > a.after ? "the first only" : "the second only", kib(a.bytes, size),
	         made, strncmp(key, "env ", 4) ? key : key + 4, value(e, row, "before"),
	         value(e, row, "after"));
	return add(e, text, "glibc-arena", key, a.before > a.after ? -a.bytes : a.bytes, err);
}

/* ---- stacks: glibc takes the soft limit of the stack for threads without a
 * size of their own: nptl/nptl-stack.c, __default_pthread_attr */

struct stacks {
	int64_t before, after; /* the largest of one thread */
	int64_t virtual_bytes; /* of all, after less before */
};

static struct stacks look_at_stacks(const struct explain *e)
{
	struct stacks s = { 0 };

	for (size_t i = 0; i < e->changes->n; i++) {
		const struct ladder_change *c = &e->changes->items[i];

		if (strcmp(c->kind, "thread-stack") != 0)
			continue;
		if (c->before.row && c->before.row->virtual_bytes > s.before)
			s.before = c->before.row->virtual_bytes;
		if (c->after.row && c->after.row->virtual_bytes > s.after)
			s.after = c->after.row->virtual_bytes;
		s.virtual_bytes = samples_sum(s.virtual_bytes, ladder_diff_virtual(c));
	}
	return s;
}

/* The stack of that limit, with or without its guard pages? */
static bool is_of_limit(const char *limit, int64_t bytes)
{
	char *end;
	long long kb = strtoll(limit, &end, 10);

	if (end == limit)
		kb = 2048; /* "unlimited": ARCH_STACK_DEFAULT_SIZE on x86-64 */
	return kb > 0 && kb < 1 << 30 && llabs(kb * 1024 - bytes) <= 65536;
}

static int explain_stacks(const struct explain *e, struct error *err)
{
	struct stacks s = look_at_stacks(e);
	char text[TEXT_BYTES], a[NUMBER_BYTES], b[NUMBER_BYTES];
	size_t row;

	if (!s.before || !s.after || s.before == s.after || !differs(e, "rlimit stack", &row) ||
	    !is_of_limit(value(e, row, "before"), s.before) ||
	    !is_of_limit(value(e, row, "after"), s.after))
		return 0;
	snprintf(text, sizeof(text),
	         "a thread's stack is %s in the first and %s in the second: RLIMIT_STACK is "
	         "%.60s and %.60s",
	         kib(s.before, a), kib(s.after, b), value(e, row, "before"),
	         value(e, row, "after"));
	return add(e, text, "thread-stack", "rlimit stack", s.virtual_bytes, err);
}

/* ---- jemalloc: what it keeps is what its options say */

static int explain_jemalloc(const struct explain *e, struct error *err)
{
	static const char conf[] = "MALLOC_CONF";
	char text[TEXT_BYTES];
	int64_t bytes = 0;

	for (size_t i = 0; i < e->changes->n; i++) {
		if (!strcmp(e->changes->items[i].kind, "jemalloc"))
			bytes = samples_sum(bytes, ladder_diff_virtual(&e->changes->items[i]));
	}
	for (size_t i = 0; bytes && e->settings && i < e->settings->n_rows; i++) {
		const char *key = ladder_rows_text(e->settings, i, "key");
		size_t n = strlen(key);

		if (n < strlen(conf) || strcmp(key + n - strlen(conf), conf) != 0)
			continue;
		snprintf(text, sizeof(text),
		         "jemalloc has other options: %.80s is %.120s in the first and %.120s in "
		         "the second",
		         key + (strncmp(key, "env ", 4) ? 0 : 4), value(e, i, "before"),
		         value(e, i, "after"));
		return add(e, text, "jemalloc", key, bytes, err);
	}
	return 0;
}

int ladder_explain_add(struct report *to, const struct ladder_changes *changes, struct error *err)
{
	static int (*const rules[])(const struct explain *, struct error *) = {
		explain_arenas,
		explain_stacks,
		explain_jemalloc,
	};
	int r = 0;

	/* adding a table may move the others */
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rules); i++) {
		const struct explain e = { to, ladder_rows_table(to, "settings"), changes };

		r = rules[i](&e, err);
	}
	return r;
}
