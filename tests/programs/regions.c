/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What one runtime sees from outside, as lines with tabs, for tests of the
 * readers behind the ladder.
 *
 *	regions RUNTIME PID heaps [stop]    heap, range, finding lines
 *	regions RUNTIME PID blocks FILE     finds each address of FILE's first column
 *
 * heap     KIND NAME IN_USE CACHED CHECKED INCONSISTENT DETAIL EVIDENCE KEY=VALUE...
 * range    KIND NAME START END CLAIM
 * finding  KEY BYTES TEXT REMEDY
 * time     MILLISECONDS
 * block    ADDRESS KIND START SIZE STATE DETAIL
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "runtime/runtime.h"

static int print_heaps(const struct runtime_view *v, const struct runtime_ops *ops,
                       const struct regions_input *in, struct error *err)
{
	cleanup(regions_clear) struct regions to = { 0 };
	uint64_t before = clock_now_ns();
	int r = ops->label_regions(v, in, &to, err);

	if (r < 0)
		return r;
	printf("time\t%.1f\n", (clock_now_ns() - before) / 1e6);
	for (size_t i = 0; i < to.n_heaps; i++) {
		const struct regions_heap *h = &to.heaps[i];

		printf("heap\t%s\t%s\t%" PRId64 "\t%" PRId64 "\t%" PRIu64 "\t%" PRIu64 "\t%s\t%s",
		       h->kind, h->name, h->in_use_bytes, h->cached_bytes, h->checked,
		       h->inconsistent, h->detail, h->evidence);
		for (size_t k = 0; k < h->n_figures; k++)
			printf("\t%s=%" PRId64, h->figures[k].key, h->figures[k].value);
		putchar('\n');
	}
	for (size_t i = 0; i < to.n_ranges; i++)
		printf("range\t%s\t%s\t%" PRIx64 "\t%" PRIx64 "\t%d\n",
		       to.heaps[to.ranges[i].heap].kind, to.heaps[to.ranges[i].heap].name,
		       to.ranges[i].start, to.ranges[i].end, to.ranges[i].claim);
	for (size_t i = 0; i < to.n_findings; i++)
		printf("finding\t%s\t%" PRId64 "\t%s\t%s\n", to.findings[i].key,
		       to.findings[i].bytes, to.findings[i].text, to.findings[i].remedy);
	return 0;
}

static int print_blocks(const struct runtime_view *v, const struct runtime_ops *ops,
                        const struct regions_input *in, const char *path, struct error *err)
{
	static const char *const states[] = { "live", "free", "cached" };
	cleanup_fclose FILE *f = fopen(path, "r");
	uint64_t addr;
	int r = 0;

	if (!f)
		return error_sys(err, errno, "%s", path);
	while (r >= 0 && fscanf(f, "%" SCNx64 "%*[^\n]", &addr) == 1) {
		struct regions_block b = { 0 };

		r = ops->find_block(v, in, addr, &b, err);
		if (r > 0)
			printf("block\t%" PRIx64 "\t%s\t%" PRIx64 "\t%" PRIu64 "\t%s\t%s\n", addr,
			       b.kind, b.start, b.size, states[b.state], b.detail);
		else if (r == 0)
			printf("block\t%" PRIx64 "\tnone\n", addr);
	}
	return r < 0 ? r : 0;
}

#ifdef NO_THREADS
static int read_threads(const struct target *t, const struct maps *m, struct threads *ret,
                        struct error *err)
{
	return 0;
}
#define threads_read  read_threads
#define threads_clear no_threads_clear
static void no_threads_clear(struct threads *t)
{
}
#endif

static int look(const struct runtime_ops *ops, char **args, bool stop, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(threads_clear) struct threads threads = { 0 };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	struct regions_input in = { .maps = &maps, .threads = &threads, .stopped = stop };
	struct runtime_view v = { 0 };
	int r = target_open(strtol(args[0], NULL, 10), &t, err);

	if (r == 0)
		r = maps_read(t, &maps, err);
	if (r == 0)
		r = threads_read(t, &maps, &threads, err);
	if (r == 0)
		r = symbol_pool_new(&options, &pool, err);
	if (r == 0)
		r = symbol_space_new(pool, t, &space, err);
	if (r == 0)
		r = symbol_space_refresh(space, t, err);
	v.target = t;
	v.space = space;
	if (r >= 0 && !strcmp(args[1], "heaps"))
		return print_heaps(&v, ops, &in, err);
	return r < 0 ? r : print_blocks(&v, ops, &in, args[2], err);
}

int main(int argc, char **argv)
{
	const struct runtime_ops *ops = argc > 3 ? registry_find(argv[1]) : NULL;
	bool stop = argc > 4 && !strcmp(argv[4], "stop");
	struct error err = { 0 };
	int r;

	if (!ops || !ops->label_regions)
		return 2;
	if (stop)
		kill(strtol(argv[2], NULL, 10), SIGSTOP);
	r = look(ops, argv + 2, stop, &err);
	if (stop)
		kill(strtol(argv[2], NULL, 10), SIGCONT);
	if (r < 0)
		error_print(&err, stderr);
	return r < 0;
}
