/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/record.h"
#include "target/target.h"

struct pids {
	pid_t *items;
	size_t n, cap;
};

static void clear_pids(struct pids *p)
{
	free(p->items);
}

static int add_pids(struct pids *to, const pid_t *from, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;
		int r;

		while (k < to->n && to->items[k] != from[i])
			k++;
		if (k < to->n)
			continue;
		r = array_reserve(&to->items, &to->cap, to->n + 1, err);
		if (r < 0)
			return r;
		to->items[to->n++] = from[i];
	}
	return 0;
}

/* The processes that one word means; with --follow the children that are there
 * already, too. */
static int add_target(struct pids *to, const char *spec, bool follow, struct error *err)
{
	cleanup_free pid_t *found = NULL;
	size_t n = 0;
	int r = target_resolve(spec, &found, &n, err);

	if (r == 0)
		r = add_pids(to, found, n, err);
	for (size_t i = 0; r == 0 && follow && i < n; i++) {
		cleanup_free pid_t *children = NULL;
		size_t n_children = 0;

		r = target_descendants(found[i], &children, &n_children, err);
		if (r == 0)
			r = add_pids(to, children, n_children, err);
	}
	return r;
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(clear_pids) struct pids pids = { 0 };
	struct record record;
	int r = record_parse(args, &record, err);

	if (r < 0)
		return r;
	if (!args->n_words) {
		error_set(err, EINVAL, "which process? memwho alloc needs a TARGET");
		return error_hint(err, "memwho alloc --help");
	}
	for (size_t i = 0; i < args->n_words; i++) {
		r = add_target(&pids, args->words[i], record.capture.alloc.follow, err);
		if (r < 0)
			return r;
	}
	if (!pids.n)
		return error_set(err, ESRCH, "no process in '%s'", args->words[0]);
	record_catch_signals();
	return record_run(&record, pids.items, pids.n, err);
}

static const struct cli_option *const tables[] = { options_recording, options_held,
	                                           options_output,    options_view,
	                                           options_common,    NULL };

const struct cli_command alloc_command = {
	.name = "alloc",
	.summary = "who allocated the bytes that are still held",
	.usage = "[OPTION...] TARGET...",
	.details =
		"Records every allocation from now on, with its stack, and shows what is still\n"
		"held at the end. TARGET is a PID, a process name, pidfile:PATH, cgroup:PATH or\n"
		"container:ID; several are summed and labelled. Allocators (--allocator):\n"
		"postgres, libc, jemalloc, tcmalloc, mimalloc, musl.\n"
		"\n"
		"  memwho alloc 4711                     until Ctrl-C; a table\n"
		"  memwho alloc 4711 -d 13s -o held.svg  a flame graph\n"
		"  memwho alloc pidfile:/run/postgresql/15-main.pid --follow -d 13s\n"
		"  memwho alloc 4711 --every 5s          what is held and what grew\n"
		"  memwho alloc 4711 --older-than 10s --by thread\n",
	.option_tables = tables,
	.run = run,
};
