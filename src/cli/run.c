/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/cleanup.h"
#include "capture/launch.h"
#include "cli/cli.h"
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

static int run(const struct cli_args *args, struct error *err)
{
	struct running r = { 0 };
	int rc = record_parse(args, &r.record, err);

	if (rc < 0)
		return rc;
	if (!args->rest || !args->rest[0]) {
		error_set(err, EINVAL, "which program? memwho run needs a command behind --");
		return error_hint(err, "memwho run -o held.svg -- ./server -p 8080");
	}
	/* killed while it holds the program, we would leave it held or unrecorded */
	record_catch_signals();
	rc = launch_start(args->rest, &r.launch, err);
	if (rc < 0)
		return rc;
	r.record.capture.started_stopped = true;
	r.record.capture.begun = let_go;
	/* who starts a program to look at it accepts what looking costs */
	if (!cli_value(args, "max-slowdown"))
		r.record.capture.alloc.max_slowdown = 1e9;
	rc = record_run(&r.record, &r.launch.pid, 1, err);
	if (rc < 0)
		launch_abort(&r.launch);
	else if (launch_status(&r.launch) < 0)
		cli_say("process %d goes on", r.launch.pid);
	return rc;
}

static const struct cli_option *const tables[] = { options_recording, options_held,
	                                           options_output,    options_view,
	                                           options_common,    NULL };

const struct cli_command run_command = {
	.name = "run",
	.summary = "start a program under the recorder from its first instruction",
	.usage = "[OPTION...] -- COMMAND [ARG...]",
	.details = "Starts COMMAND, attaches before its own code runs, and shows what it held\n"
		   "when it ended. Without --max-slowdown it is recorded at any price.\n"
		   "\n"
		   "  memwho run -o held.svg -- ./server -p 8080\n"
		   "  memwho run --peak -- ./batch-job\n",
	.option_tables = tables,
	.run = run,
};
