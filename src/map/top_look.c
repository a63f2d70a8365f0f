/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "map/ladder.h"
#include "map/top.h"
#include "symbol/symbol.h"
#include "target/proc.h"
#include "target/target.h"

enum { ROLLUP_BYTES = 1 << 16 };

/* Kinds that are memory of an allocator or a language, and what people call it. */
static const struct {
	const char *kind, *name;
} allocators[] = {
	{ REGIONS_GLIBC_ARENA, "glibc" },
	{ REGIONS_GLIBC_MMAPPED, "glibc" },
	{ REGIONS_JEMALLOC, "jemalloc" },
	{ REGIONS_TCMALLOC, "tcmalloc" },
	{ REGIONS_MIMALLOC, "mimalloc" },
	{ REGIONS_MUSL, "musl" },
	{ REGIONS_GO, "go" },
	{ REGIONS_POSTGRES, "postgres" },
	{ REGIONS_PYTHON, "python" },
	{ REGIONS_LUA, "lua" },
	{ REGIONS_JVM, "jvm" },
	{ REGIONS_V8, "v8" },
};

static const char *allocator_of(const char *kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(allocators); i++) {
		if (!strcmp(allocators[i].kind, kind))
			return allocators[i].name;
	}
	return NULL;
}

static int64_t resident_of(const struct ladder *l, const char *name)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < l->n_parts; i++) {
		const char *is = allocator_of(l->parts[i].heap.kind);

		if (is && !strcmp(is, name))
			bytes += (int64_t)l->parts[i].resident_bytes;
	}
	return bytes;
}

/* The one with the most resident bytes. */
static void take_ladder(struct top_row *r, const struct ladder *l)
{
	r->unnamed_bytes = (int64_t)l->unnamed_bytes;
	r->allocator_bytes = 0;
	for (size_t i = 0; i < l->n_parts; i++) {
		const char *name = allocator_of(l->parts[i].heap.kind);
		int64_t bytes = name ? resident_of(l, name) : 0;

		if (bytes <= r->allocator_bytes)
			continue;
		snprintf(r->allocator, sizeof(r->allocator), "%s", name);
		r->allocator_bytes = bytes;
	}
}

static int look_at_ladder(struct top_row *r, const struct target *t, struct symbol_pool *pool,
                          struct error *err)
{
	const struct ladder_options options = { 0 };
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	cleanup(ladder_clear) struct ladder l = { 0 };
	int e = symbol_space_new(pool, t, &space, err);

	if (e == 0)
		e = ladder_read(t, space, &options, &l, err);
	if (e == 0)
		take_ladder(r, &l);
	return e;
}

/* smaps_rollup: Linux 4.14. */
static int look_at_pss(struct top_row *r, const struct target *t, struct error *err)
{
	cleanup_free char *text = NULL;
	const char *line;
	int e = target_proc_file(t, "smaps_rollup", ROLLUP_BYTES, &text, NULL, err);

	if (e < 0)
		return e;
	line = proc_status_line(text, "Pss");
	r->pss_bytes = line ? (int64_t)strtoull(line, NULL, 10) * 1024 : -1;
	return 0;
}

static int look(struct top_row *r, struct symbol_pool *pool, bool ladder, bool pss,
                struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	int e = target_open(r->pid, &t, err);

	if (e == 0 && t->start_ticks != r->start_ticks)
		return error_set(err, ESRCH, "process %d has ended", r->pid);
	if (e == 0 && ladder)
		e = look_at_ladder(r, t, pool, err);
	if (e == 0 && pss)
		e = look_at_pss(r, t, err);
	return e;
}

int top_look(struct top *t, size_t n, uint64_t budget_ns, bool ladder, bool pss, struct error *err)
{
	const struct symbol_options symbols = { .no_debuginfod = true, .no_inline = true };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	uint64_t began = clock_now_ns();
	int r = symbol_pool_new(&symbols, &pool, err);

	for (size_t i = 0; r == 0 && i < n && i < t->n_rows; i++) {
		struct top_row *row = &t->rows[i];
		struct error why = { 0 };

		if (budget_ns && clock_now_ns() - began >= budget_ns)
			break;
		r = look(row, pool, ladder, pss, &why);
		row->was_looked_at = r == 0;
		/* ended, or a program of another kind: the row keeps what the kernel says */
		row->is_denied = r == -EACCES || r == -EPERM;
		if (r == -ENOMEM)
			*err = why;
		else
			r = 0;
	}
	return r;
}
