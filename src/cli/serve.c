/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/serve.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "serve/config.h"
#include "serve/worker.h"

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(config_clear) struct config c = { 0 };
	const char *path;
	int r = cli_word(args, "FILE", &path, err);

	if (r < 0)
		return r;
	if (!cli_flag(args, "check")) {
		r = serve_run(path, err);
		return r < 0 ? r : CLI_DONE;
	}
	r = config_read(path, &c, err);
	if (r == 0)
		r = serve_check(&c, err);
	if (r < 0)
		return r;
	cli_say("%s: %zu targets, %zu triggers, %zu pushes; listens on %s", path, c.n_targets,
	        c.n_triggers, c.n_pushes, c.listen);
	return CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, NULL, NULL, "Serving" },
	{ 0, "check", NULL, "only read FILE and say what is wrong with it" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_common, NULL };

const struct cli_command serve_command = {
	.name = "serve",
	.summary = "profiles, ladders and metrics over HTTP, and captures on growth",
	.usage = "[OPTION...] FILE",
	.details = "FILE is a configuration (docs/serve.md).\n"
		   "\n"
		   "  memwho serve --check /etc/memwho.conf",
	.option_tables = tables,
	.run = run,
};

static int run_worker(const struct cli_args *args, struct error *err)
{
	(void)args;
	(void)err;
	return worker_main(WORKER_FD) < 0 ? CLI_FAILED : CLI_DONE;
}

static const struct cli_option *const worker_tables[] = { options_common, NULL };

/* What the service starts for each capture (serve/worker.h). */
const struct cli_command serve_worker_command = {
	.name = "serve-worker",
	.summary = "captures for memwho serve; not for the command line",
	.usage = "[OPTION...]",
	.details = "",
	.option_tables = worker_tables,
	.hidden = true,
	.run = run_worker,
};
