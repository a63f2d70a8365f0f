/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/own.h"
#include "cli/own_je.h"
#include "cli/record.h"
#include "cli/targets.h"

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(targets_clear) struct targets targets = { 0 };
	struct record record;
	int r = record_parse(args, &record, err);

	if (r == 0)
		r = record_parse_budget(args, &record.capture.alloc, err);

	if (r < 0)
		return r;
	if (!args->n_words) {
		error_set(err, EINVAL, "which process? memwho alloc needs a TARGET");
		return error_hint(err, "memwho alloc --help");
	}
	if (own_is_core(args))
		return own_run_core(args, &record, err);
	if (cli_value(args, "exe") || cli_value(args, "sysroot"))
		return error_set(err, EINVAL, "--exe and --sysroot are for cores");
	r = targets_add(&targets, args->words, args->n_words, record.capture.alloc.follow, err);
	if (r < 0)
		return r;
	record_catch_signals();
	if (record_is_jemalloc(&record))
		return own_je_run(args, &record, targets.items, targets.n, err);
	r = own_run(args, &record, targets.items, targets.n, err);
	if (r == OWN_NOT)
		r = own_je_auto(args, &record, targets.items, targets.n, err);
	return r != OWN_NOT ? r : record_run(&record, targets.items, targets.n, err);
}

static const struct cli_option cores[] = {
	{ 0, NULL, NULL, "Cores (of Go programs)" },
	{ 0, "exe", "FILE", "of a core: the program" },
	{ 0, "sysroot", "DIR", "of a core: where its files are looked for" },
	{ 0 },
};
static const struct cli_option agent[] = {
	{ 0, NULL, NULL, "With --engine agent" },
	{ 0, "sample", "BYTES", "mean of what is allocated between two samples (512K)" },
	{ 0, "exact", NULL, "every allocation with its stack, no samples" },
	{ 0, "before", NULL, "exact ones, too: what the allocator holds beside" },
	{ 0, "no-before", NULL, "no row for what was there before the attach" },
	{ 0, "patch", "WHERE", "page: in copies of the code's pages, not in the code" },
	{ 0 },
};

static const struct cli_option *const tables[] = {
	options_recording, options_budget, agent,          cores, options_held,
	options_output,    options_view,   options_common, NULL
};

const struct cli_command alloc_command = {
	.name = "alloc",
	.summary = "who allocated the bytes that are still held",
	.usage = "[OPTION...] TARGET...|CORE",
	.details =
		"Records every allocation from now on, with its stack, and shows what is still\n"
		"held at the end. TARGET is a PID, a process name, pidfile:PATH, cgroup:PATH or\n"
		"container:ID; several are summed and labelled. Allocators (--allocator):\n"
		"postgres, libc, jemalloc, tcmalloc, mimalloc, musl.\n"
		"\n"
		"A Go program samples its allocations itself: its own profile is read, since its\n"
		"start and at no cost; with -d, what it grew by meanwhile. --allocator libc\n"
		"records its malloc instead (cgo).\n"
		"\n"
		"  memwho alloc 4711                     until Ctrl-C; a table\n"
		"  memwho alloc 4711 -d 13s -o held.svg  a flame graph\n"
		"  memwho alloc pidfile:/run/postgresql/15-main.pid --follow -d 13s\n"
		"  memwho alloc 4711 --every 5s          what is held and what grew\n"
		"  memwho alloc 4711 --older-than 10s --by thread\n",
	.option_tables = tables,
	.run = run,
};
