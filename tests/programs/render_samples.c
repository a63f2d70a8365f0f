/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render_samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/interval.h"

enum { AGE = PROFILE_HEAP_TYPES, GROWTH, N_SMALL_TYPES };

const char *const render_samples_hostile[] = {
	"<script>alert(1)</script>",
	"</title></svg><script>alert(2)</script>",
	"]]><!-- -->\"'&amp;&lt;",
	"line\nbreak\ttab\rreturn",
	"bad \xff\xfe utf8 \xc3",
	"\x1b[31mred\x1b[0m\x01\x02\x7f",
	"\xe2\x80\xaegnp.exe",
	"\xef\xbf\xbf not a character",
	"a;b;c 12",
	"\\u003c\"};alert(3);{\"",
	"onload=alert(4) x='",
	"  ",
	"${alert(5)}`",
	"fn main::\xf0\x9f\x94\xa5\xe4\xb8\xad\xe6\x96\x87",
	NULL,
};

/* "name@module" or "+0x123@module" (no symbol) or "name"; "name@module#file:line" */
static uint32_t frame(struct profile *p, const char *text)
{
	struct error err;
	struct profile_frame f = { 0 };
	const char *at = strrchr(text, '@'), *file = at ? strchr(at, '#') : NULL;
	const char *line = file ? strrchr(file, ':') : NULL;
	size_t len = at ? (size_t)(at - text) : strlen(text);
	uint32_t id = 0;

	if (text[0] == '+' && at)
		f.offset = strtoull(text + 1, NULL, 16);
	else if (profile_string(p, text, len, &f.name, &err) < 0)
		abort();
	if (at && profile_string(p, at + 1, file ? (size_t)(file - at - 1) : strlen(at + 1),
	                         &f.module, &err) < 0)
		abort();
	if (line && profile_string(p, file + 1, (size_t)(line - file - 1), &f.file, &err) < 0)
		abort();
	f.line = line ? (uint32_t)strtoul(line + 1, NULL, 10) : 0;
	if (at && text[0] != '+')
		f.offset = 0x1000 + (uint64_t)len * 16;
	if (profile_frame(p, &f, &id, &err) < 0)
		abort();
	return id;
}

static void label(struct profile *p, struct profile_label *l, const char *key, const char *text)
{
	struct error err;

	if (profile_string(p, key, strlen(key), &l->key, &err) < 0 ||
	    profile_string(p, text, strlen(text), &l->text, &err) < 0)
		abort();
}

/* @stack: leaf first, split by '|' */
static void add(struct profile *p, const char *stack, const char *context, const int64_t *values)
{
	cleanup_free char *copy = strdup(stack);
	struct profile_label labels[1] = { 0 };
	uint32_t frames[64];
	size_t n = 0;
	struct error err;
	char *save = NULL;

	for (char *s = strtok_r(copy, "|", &save); s && n < 64; s = strtok_r(NULL, "|", &save))
		frames[n++] = frame(p, s);
	if (context)
		label(p, labels, "context", context);
	if (profile_add(p, frames, n, labels, context ? 1 : 0, values, &err) < 0)
		abort();
}

static void add_small(struct profile *p, const char *stack, const char *context, int64_t n,
                      int64_t bytes, double age, int64_t growth)
{
	int64_t values[N_SMALL_TYPES] = { n * 3, bytes * 2, n, bytes, (int64_t)(age * 1e9) * n,
		                          growth };

	add(p, stack, context, values);
}

#define PG   "@/usr/lib/postgresql/15/bin/postgres"
#define LIBC "@/lib/x86_64-linux-gnu/libc.so.6"
#define MAIN                                                                                       \
	"PostgresMain" PG "|BackendRun" PG "|ServerLoop" PG "|PostmasterMain" PG "|main" PG        \
	"|__libc_start_main" LIBC "|_start" PG

static void small_report(struct profile *p)
{
	static const char *const columns[] = { "context", "held_bytes", "chunks" };
	struct report *r = profile_report(p);
	struct report_table *t;
	struct error err;
	struct report_figure cells[3] = {
		report_cell_text("TopMemoryContext/CacheMemoryContext"),
		report_cell_int(5378688),
		report_cell_int(37352),
	};

	if (report_text(r, "target", "target", "postgres (4711)", &err) < 0 ||
	    report_text(r, "engine", "engine", "bpf", &err) < 0 ||
	    report_double(r, "estimated_slowdown", "slowdown", 1.04, "", &err) < 0 ||
	    report_double(r, "complete_stacks_percent", "complete stacks", 99.8, "percent", &err) <
	            0 ||
	    report_int(r, "lost_events", "lost events", 0, "", &err) < 0 ||
	    report_int(r, "freed_older_bytes", "freed of older blocks", 1234567, "bytes", &err) <
	            0 ||
	    report_text(r, "ended_by", "ended by", "duration", &err) < 0 ||
	    report_table(r, "contexts", columns, 3, &t, &err) < 0 || report_row(t, cells, &err) < 0)
		abort();
	profile_set_time(p, 1700000000000000000, 13000000000);
}

static struct profile *make_small(void)
{
	struct profile_type types[N_SMALL_TYPES] = {
		[AGE] = { "inuse_age", "ns" }, [GROWTH] = { "growth_space", "bytes" }
	};
	struct profile *p;
	struct error err;

	for (int i = 0; i < PROFILE_HEAP_TYPES; i++)
		types[i] = profile_heap_types[i];
	if (profile_new(&p, types, N_SMALL_TYPES, PROFILE_INUSE_SPACE, &err) < 0)
		return NULL;
	add_small(p,
	          "AllocSetAlloc" PG "|MemoryContextAlloc" PG "|psprintf" PG "|GetDatabasePath" PG
	          "|ao_truncate_replay" PG "|appendonly_redo" PG "|StartupXLOG" PG
	          "|StartupProcessMain" PG "|AuxiliaryProcessMain" PG "|PostmasterMain" PG
	          "|main" PG "|__libc_start_main" LIBC "|_start" PG,
	          "TopMemoryContext", 37352, 5378688, 6.4, 144 * 1000);
	add_small(p,
	          "AllocSetAlloc" PG "|MemoryContextAllocZero" PG "|RelationBuildDesc" PG
	          "|RelationIdGetRelation" PG "|relation_open" PG "|table_open" PG
	          "|parserOpenTable" PG "|addRangeTableEntry" PG "|transformFromClause" PG
	          "|parse_analyze" PG "|exec_simple_query" PG "|" MAIN,
	          "TopMemoryContext/CacheMemoryContext", 812, 1843200, 11.9, 0);
	add_small(p,
	          "AllocSetAlloc" PG "|palloc" PG "|GenericXLogStart" PG "|GpPolicyFetch" PG
	          "|RelationBuildDesc" PG "|RelationIdGetRelation" PG "|relation_open" PG
	          "|exec_simple_query" PG "|" MAIN,
	          "TopMemoryContext/CacheMemoryContext", 420, 912384, 9.0, 4096);
	add_small(p,
	          "AllocSetRealloc" PG "|repalloc" PG "|enlargeStringInfo" PG
	          "|appendBinaryStringInfo" PG "|CopyReadLine" PG "|NextCopyFrom" PG "|CopyFrom" PG
	          "|DoCopy" PG "|exec_simple_query" PG "|" MAIN,
	          "TopMemoryContext/PortalContext", 3, 524288, 0.8, 524288);
	add_small(p,
	          "malloc" LIBC "|+0x1a2b3@/usr/lib/libssl.so.3|+0x1a2c4@/usr/lib/libssl.so.3"
	          "|+0x1a2d5@/usr/lib/libssl.so.3|+0x1a2e6@/usr/lib/libssl.so.3"
	          "|CRYPTO_zalloc@/usr/lib/libcrypto.so.3|SSL_new@/usr/lib/libssl.so.3"
	          "|be_tls_open_server" PG "|" MAIN,
	          NULL, 90, 262144, 12.5, -2048);
	add_small(p,
	          "malloc" LIBC "|expand" PG "|expand" PG "|expand" PG "|expand" PG "|expand" PG
	          "|planner" PG "|exec_simple_query" PG "|" MAIN,
	          NULL, 12, 98304, 3.3, 0);
	add_small(p, "[before attach]", NULL, 2, 640, 13, 0);
	small_report(p);
	return p;
}

/* @samples blocks of @size were drawn there, one in @mean bytes. */
static void add_sampled(struct profile *p, const char *stack, unsigned samples, double size,
                        double mean)
{
	int64_t values[PROFILE_HEAP_TYPES + INTERVAL_TYPES] = { 0 };
	struct interval_sum bytes = { 0 }, blocks = { 0 };
	const double weight = 1 / -expm1(-size / mean);

	for (unsigned i = 0; i < samples; i++) {
		interval_add_bytes(&bytes, size, weight);
		interval_add_blocks(&blocks, weight);
	}
	values[PROFILE_ALLOC_OBJECTS] = values[PROFILE_INUSE_OBJECTS] = llround(blocks.estimate);
	values[PROFILE_ALLOC_SPACE] = values[PROFILE_INUSE_SPACE] = llround(bytes.estimate);
	interval_values(&blocks, &bytes, &blocks, &bytes, values + PROFILE_HEAP_TYPES);
	add(p, stack, NULL, values);
}

static struct profile *make_sampled(void)
{
	enum { MEAN = 512 * 1024 };
	struct profile_type types[PROFILE_HEAP_TYPES + INTERVAL_TYPES];
	struct profile *p;
	struct error err;

	memcpy(types, profile_heap_types, sizeof(profile_heap_types));
	memcpy(types + PROFILE_HEAP_TYPES, interval_profile_types, sizeof(interval_profile_types));
	if (profile_new(&p, types, ARRAY_SIZE(types), PROFILE_INUSE_SPACE, &err) < 0)
		return NULL;
	add_sampled(p, "once@/opt/app/server|parent@/opt/app/server|main@/opt/app/server", 1, 64,
	            MEAN);
	add_sampled(p, "few@/opt/app/server|parent@/opt/app/server|main@/opt/app/server", 4, 400,
	            MEAN);
	add_sampled(p, "many@/opt/app/server|main@/opt/app/server", 100, 1000, MEAN);
	add_sampled(p, "large@/opt/app/server|main@/opt/app/server", 2, 20. * MEAN, MEAN);
	return p;
}

static struct profile *make_plain(void)
{
	static const struct profile_type type = { "space", "bytes" };
	struct profile *p;
	struct error err;

	if (profile_new(&p, &type, 1, 0, &err) < 0)
		return NULL;
	add(p, "leaf@/opt/app/server#src/leaf.c:42|middle@/opt/app/server|main@/opt/app/server",
	    NULL, (int64_t[]){ 3000 });
	add(p, "other@/opt/app/libx.so.1|main@/opt/app/server", NULL, (int64_t[]){ 1000 });
	return p;
}

static struct profile *make_empty(void)
{
	struct profile *p;
	struct error err;

	if (profile_new(&p, profile_heap_types, PROFILE_HEAP_TYPES, PROFILE_INUSE_SPACE, &err) < 0)
		return NULL;
	return p;
}

static struct profile *make_hostile(void)
{
	struct profile *p = make_empty();
	cleanup_free char *long_name = malloc(1000001);
	int64_t values[PROFILE_HEAP_TYPES] = { 1, 100, 1, 100 };
	struct report *r;
	struct error err;

	if (!p || !long_name)
		abort();
	memset(long_name, '<', 1000000);
	long_name[1000000] = '\0';
	for (size_t i = 0; render_samples_hostile[i]; i++) {
		const char *name = render_samples_hostile[i];
		uint32_t frames[3] = { frame(p, name), 0, frame(p, "main@/opt/<\">&'\x01.so") };
		struct profile_label l = { 0 };

		frames[1] = frame(p, long_name);
		label(p, &l, name, name);
		values[PROFILE_INUSE_SPACE]++;
		if (profile_add(p, frames, 3, &l, 1, values, &err) < 0)
			abort();
	}
	r = profile_report(p);
	if (report_text(r, "target", "target", "</title><script>alert(9)</script>\x1b[2J", &err) <
	            0 ||
	    report_text(r, "stacks", "taken", "a key of our own", &err) < 0)
		abort();
	return p;
}

static struct profile *make_deep(void)
{
	struct profile *p = make_empty();
	int64_t values[PROFILE_HEAP_TYPES] = { 1, 4096, 1, 4096 };
	uint32_t frames[2000];
	struct error err;

	for (int i = 0; i < 2000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "level_%d@/opt/deep", i);
		frames[i] = frame(p, name);
	}
	if (!p || profile_add(p, frames, 2000, NULL, 0, values, &err) < 0)
		abort();
	return p;
}

static struct profile *make_diff(void)
{
	static const struct profile_type types[] = { { "after", "bytes" },
		                                     { "before", "bytes" },
		                                     { "delta", "bytes" } };
	struct profile *p;
	struct error err;

	if (profile_new(&p, types, 3, 2, &err) < 0)
		return NULL;
	add(p, "malloc" LIBC "|grow" PG "|" MAIN, NULL, (int64_t[]){ 9000000, 1000000, 8000000 });
	add(p, "malloc" LIBC "|shrink" PG "|" MAIN, NULL, (int64_t[]){ 0, 3000000, -3000000 });
	add(p, "malloc" LIBC "|same" PG "|" MAIN, NULL, (int64_t[]){ 2000000, 2000000, 0 });
	add(p, "malloc" LIBC "|little" PG "|" MAIN, NULL, (int64_t[]){ 700000, 500000, 200000 });
	return p;
}

/* 50,000 stacks of 12 to 43 frames over 3,000 functions, a shared trunk, sizes
 * from a skewed distribution; the same in every run. */
static struct profile *make_large(void)
{
	struct profile *p = make_empty();
	uint32_t ids[3000], seed = 12345;
	struct error err;

	for (int i = 0; i < 3000; i++) {
		char name[96];

		snprintf(name, sizeof(name),
		         "ns::Class%d::method_%d(std::string const&)@/opt/lib%d.so.1", i % 97, i,
		         i % 11);
		ids[i] = frame(p, name);
	}
	for (uint32_t i = 0; i < 50000; i++) {
		uint32_t frames[43], n = 12 + i % 32, x = i;

		for (uint32_t d = 0; d < n; d++) { /* d counts from the root */
			seed = seed * 1664525 + 1013904223;
			x = d < 8 ? i / (50000 >> d) + d * 7 : seed >> 12;
			frames[n - 1 - d] = ids[x % 3000];
		}
		seed = seed * 1664525 + 1013904223;
		int64_t bytes = 16 + (seed >> 8) % 1000 * ((i % 97 == 0) ? 400 : 1);
		int64_t values[PROFILE_HEAP_TYPES] = { 2, bytes * 2, 1, bytes };

		if (!p || profile_add(p, frames, n, NULL, 0, values, &err) < 0)
			abort();
	}
	return p;
}

struct profile *render_samples_make(const char *name)
{
	static const struct {
		const char *name;
		struct profile *(*make)(void);
	} cases[] = {
		{ "small", make_small }, { "large", make_large },     { "hostile", make_hostile },
		{ "deep", make_deep },   { "diff", make_diff },       { "empty", make_empty },
		{ "plain", make_plain }, { "sampled", make_sampled },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!strcmp(cases[i].name, name))
			return cases[i].make();
	}
	return NULL;
}
