/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "alloc/engine.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "capture/launch.h"
#include "cli/cli.h"
#include "cli/map.h"
#include "cli/record.h"

struct running {
	struct record record;
	struct launch launch;
};

/* Recording has begun: the program may. */
static int let_go(void *arg, struct error *err)
{
	struct record *record = arg;
	struct running *r = (struct running *)((char *)record - offsetof(struct running, record));

	return launch_go(&r->launch, err);
}

/* Exact where that is permitted, else samples; the program is held as the engine wants it. */
static int choose_engine(struct running *r, struct error *err)
{
	const char **name = &r->record.capture.alloc.engine;
	const struct engine_ops *e = engine_at(0);
	struct error why;

	if (!*name && e->possible(NULL, &why) < 0) {
		*name = "agent";
		log_note(LOG_INFO, "%s; blocks are sampled by --engine %s", why.message, *name);
	}
	if (*name)
		e = engine_find(*name);
	return e && e->lends ? launch_loosen(&r->launch, err) : 0;
}

static int need_command(const struct cli_args *args, struct error *err)
{
	if (args->rest && args->rest[0])
		return 0;
	error_set(err, EINVAL, "which program? memwho run needs a command behind --");
	return error_hint(err, "memwho run -o held.svg -- ./server -p 8080");
}

/* What became of it. */
static int finish(struct launch *l, int r)
{
	if (r < 0)
		launch_abort(l);
	else if (launch_status(l) < 0)
		cli_say("process %d goes on", l->pid);
	return r;
}

struct running_map {
	struct map map;
	struct launch launch;
};

static int let_map_go(void *arg, struct error *err)
{
	struct map *map = arg;
	struct running_map *r = (struct running_map *)((char *)map -
	                                               offsetof(struct running_map, map));

	return launch_go(&r->launch, err);
}

static int run_map(const struct cli_args *args, struct error *err)
{
	struct running_map r = { 0 };
	int rc = map_parse(args, &r.map, err);

	if (rc == 0)
		rc = need_command(args, err);
	if (rc < 0)
		return rc;
	record_catch_signals();
	rc = launch_start_at_exec(args->rest, &r.launch, err);
	if (rc < 0)
		return rc;
	r.map.capture.begun = let_map_go;
	r.map.capture.tracer.follow = true;
	r.map.capture.tracer.at_exec = true;
	return finish(&r.launch, map_run(&r.map, &r.launch.pid, 1, err));
}

static int run(const struct cli_args *args, struct error *err)
{
	struct running r = { 0 };
	int rc;

	if (cli_flag(args, "map"))
		return run_map(args, err);
	if (cli_flag(args, "ranges") || cli_value(args, "ring"))
		return error_set(err, EINVAL, "--ranges and --ring are for run --map");
	rc = record_parse(args, &r.record, err);
	if (rc == 0)
		rc = record_parse_budget(args, &r.record.capture.alloc, err);
	if (rc == 0)
		rc = need_command(args, err);
	if (rc < 0)
		return rc;
	/* killed while it holds the program, we would leave it held or unrecorded */
	record_catch_signals();
	rc = launch_start(args->rest, &r.launch, err);
	if (rc < 0)
		return rc;
	r.record.capture.started_stopped = true;
	r.record.capture.begun = let_go;
	/* its maximum may be over when it comes to cost more */
	if (r.record.capture.alloc.peak && !r.record.capture.alloc.budget_asked)
		r.record.capture.alloc.budget = 0;
	/* without a budget: who starts a program to look at it accepts what looking costs */
	if (!cli_value(args, "max-slowdown"))
		r.record.capture.alloc.max_slowdown = 1e9;
	rc = choose_engine(&r, err);
	if (rc == 0)
		rc = record_run(&r.record, &r.launch.pid, 1, err);
	return finish(&r.launch, rc);
}

static const struct cli_option options_map[] = {
	{ 0, NULL, NULL, "Mappings" },
	{ 0, "map", NULL, "trace mappings, as memwho map does, children too" },
	{ 0, "ranges", NULL, "with --map: list the ranges, each with its stack" },
	{ 0, "ring", "SIZE", "with --map: the kernel's buffer for events (16M)" },
	{ 0 },
};

static const struct cli_option agent[] = {
	{ 0, NULL, NULL, "With --engine agent" },
	{ 0, "sample", "BYTES", "mean of what is allocated between two samples (512K)" },
	{ 0, "before", NULL, "exact ones, too: what the allocator holds beside" },
	{ 0, "no-before", NULL, "no row for what was there before the attach" },
	{ 0, "patch", "WHERE", "page: in copies of the code's pages, not in the code" },
	{ 0 },
};

static const struct cli_option *const tables[] = {
	options_map,    options_recording, options_budget, agent, options_held,
	options_output, options_view,      options_common, NULL,
};

const struct cli_command run_command = {
	.name = "run",
	.summary = "start a program under the recorder from its first instruction",
	.usage = "[OPTION...] -- COMMAND [ARG...]",
	.details = "Starts COMMAND, attaches before its own code runs, and shows what it held\n"
		   "when it ended: exactly as long as that is within --budget, else by samples\n"
		   "from then on. --budget none records exactly at any price. Where BPF is not\n"
		   "permitted, blocks are sampled (--engine agent).\n"
		   "\n"
		   "  memwho run -o held.svg -- ./server -p 8080\n"
		   "  memwho run --peak -- ./batch-job\n"
		   "  memwho run --map -- ./server           who mapped what, from its exec on\n",
	.option_tables = tables,
	.run = run,
};
