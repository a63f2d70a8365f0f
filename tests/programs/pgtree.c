/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What the postgres runtime sees in a process, as lines with tabs, so that a
 * test can compare it with what the server says.
 *
 *	pgtree PID tree     level class name ident total blocks free free_chunks used chunk_bytes
 *	pgtree PID check    decodes every chunk; counts by class
 *	pgtree PID probes   name vaddr at single_stepped role; "range" and "gap" lines
 *	pgtree PID kind     kind of process
 *	pgtree PID names ADDRESS...
 *	pgtree PID regions  what label_regions() says: heap, figure and range lines
 *	pgtree PID walks N [running|stopped]  N trees: how many were given up, how often and how
 *	                    long the process was stopped
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/postgres/pg_server.h"
#include "runtime/postgres/postgres.h"

static int tree(const struct runtime_view *v, char **args, struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	cleanup(pg_tree_clear) struct pg_tree t = { 0 };
	int r = pg_server_open(v, &s, err);

	if (r == 0)
		r = pg_server_look(&s, &t, NULL, 0, err);
	for (size_t i = 0; r == 0 && i < t.n; i++) {
		const struct pg_context *c = &t.items[i];

		printf("%u\t%s\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
		       "\t%" PRIu64 "\t%" PRIu64 "\t0x%" PRIx64 "\n",
		       c->level, pg_methods_class_name(c->class), pg_tree_name(&t, c),
		       pg_tree_ident(&t, c), c->total, c->blocks, c->free, c->free_chunks, c->used,
		       c->chunk_bytes, c->address);
	}
	return r;
}

static int check(const struct runtime_view *v, char **args, struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	cleanup(pg_tree_clear) struct pg_tree t = { 0 };
	struct pg_check c = { 0 };
	int r = pg_server_open(v, &s, err);

	if (r == 0)
		r = pg_server_look(&s, &t, &c, 0, err);
	if (r < 0)
		return r;
	printf("contexts\t%zu\nchecked\t%" PRIu64 "\nchunks\t%" PRIu64 "\n", t.n, c.contexts,
	       c.chunks);
	for (unsigned i = 0; i < PG_N_CLASSES; i++)
		printf("%s\t%" PRIu64 "\n", pg_methods_class_name(i), c.by_class[i]);
	printf("copied\t%" PRIu64 "\nmem_allocated\t%u\n", s.memory.copied_bytes,
	       s.layout.at_mem_allocated);
	return 0;
}

static int probes(const struct runtime_view *v, char **args, struct error *err)
{
	cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
	int r = postgres_runtime.alloc_probes(v, &p, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < p.n_probes; i++)
		printf("probe\t%s\t0x%" PRIx64 "\t+%" PRIu64 "\t%s\t%u\t%u\n", p.probes[i].name,
		       p.probes[i].vaddr, p.probes[i].at - p.probes[i].vaddr,
		       p.probes[i].single_stepped ? "single-stepped" : "emulated",
		       p.probes[i].code.role, p.probes[i].code.n);
	for (size_t i = 0; i < p.n_ranges; i++)
		printf("range\t0x%" PRIx64 "\t%" PRIu64 "\n", p.ranges[i].vaddr, p.ranges[i].size);
	for (size_t i = 0; i < p.n_gaps; i++)
		printf("gap\t%s\t%s\n", p.gaps[i].name, p.gaps[i].reason);
	return 0;
}

static int kind(const struct runtime_view *v, char **args, struct error *err)
{
	char text[64];

	if (!postgres_runtime.process_kind(v, text, sizeof(text)))
		return error_set(err, ENOENT, "no kind");
	puts(text);
	return 0;
}

static int names(const struct runtime_view *v, char **args, struct error *err)
{
	for (; *args; args++) {
		struct runtime_context c = { .address = strtoull(*args, NULL, 0) };
		int r = postgres_runtime.name_contexts(v, &c, 1, err);

		if (r < 0)
			return r;
		printf("%s\t%s\t%s\t%" PRIu64 "\n", c.path, c.class_name, c.ident, c.used_bytes);
	}
	return 0;
}

/* "running": without stopping it; "stopped": each time. */
static int walks(const struct runtime_view *v, char **args, struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	cleanup(pg_tree_clear) struct pg_tree t = { 0 };
	long n = *args ? strtol(*args, NULL, 10) : 1, given_up = 0;
	int r = pg_server_open(v, &s, err);

	if (*args && args[1])
		s.stop = !strcmp(args[1], "running") ? PG_STOP_NEVER : PG_STOP_ALWAYS;
	for (long i = 0; i < n && r == 0; i++) {
		r = pg_server_look(&s, &t, NULL, 0, err);
		given_up += r == -EAGAIN;
		r = r == -EAGAIN ? 0 : r;
	}
	if (r < 0)
		return r;
	printf("walks\t%ld\ngiven up\t%ld\nlooks\t%u\nstops\t%u\n", n, given_up, s.n_looks,
	       s.n_stops);
	printf("mean stop us\t%" PRIu64 "\nlongest stop us\t%" PRIu64 "\n",
	       s.n_stops ? s.stopped_ns / s.n_stops / 1000 : 0, s.longest_stop_ns / 1000);
	return 0;
}

static int regions(const struct runtime_view *v, char **args, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(regions_clear) struct regions to = { 0 };
	struct threads none = { 0 };
	struct regions_input in = { .maps = &maps, .threads = &none };
	int r = maps_read(v->target, &maps, err);

	if (r == 0)
		r = postgres_runtime.label_regions(v, &in, &to, err);
	for (size_t i = 0; i < to.n_heaps && r == 0; i++) {
		const struct regions_heap *h = &to.heaps[i];

		printf("heap\t%s\t%s\t%s\t%" PRId64 "\t%s\t%s\t%s\n", h->kind, h->name, h->inside,
		       h->in_use_bytes, h->detail, h->evidence, h->unknown_why);
		for (size_t k = 0; k < h->n_figures; k++)
			printf("figure\t%s\t%s\t%" PRId64 "\n", h->name, h->figures[k].key,
			       h->figures[k].value);
	}
	for (size_t i = 0; i < to.n_ranges && r == 0; i++)
		printf("range\t%s\t0x%" PRIx64 "\t0x%" PRIx64 "\t%s\n",
		       to.heaps[to.ranges[i].heap].name, to.ranges[i].start, to.ranges[i].end,
		       to.ranges[i].claim == REGIONS_PROVEN ? "proven" : "shape");
	return r;
}

static const struct {
	const char *name;
	int (*run)(const struct runtime_view *v, char **args, struct error *err);
} commands[] = {
	{ "tree", tree },   { "check", check }, { "probes", probes },   { "kind", kind },
	{ "names", names }, { "walks", walks }, { "regions", regions },
};

static int run(pid_t pid, char **args, struct error *err)
{
	static const struct symbol_options options = { .no_debuginfod = true };
	cleanup(target_closep) struct target *t = NULL;
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	struct runtime_view v;
	int r = target_open(pid, &t, err);

	if (r == 0)
		r = symbol_pool_new(&options, &pool, err);
	if (r == 0)
		r = symbol_space_new(pool, t, &space, err);
	if (r < 0)
		return r;
	r = symbol_space_refresh(space, t, err);
	if (r < 0)
		return r;
	v = (struct runtime_view){ t, space };
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(args[0], commands[i].name))
			return commands[i].run(&v, args + 1, err);
	return error_set(err, EINVAL, "no command %s", args[0]);
}

int main(int argc, char **argv)
{
	struct error err = { 0 };

	if (argc < 3) {
		fputs("usage: pgtree PID tree|check|probes|kind|names|walks|regions\n", stderr);
		return 2;
	}
	if (run(strtol(argv[1], NULL, 10), argv + 2, &err) < 0) {
		error_print(&err, stderr);
		return 1;
	}
	return 0;
}
