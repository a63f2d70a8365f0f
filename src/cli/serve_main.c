/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memwho-serve: what `memwho serve` becomes (serve.c), and the workers of that. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/program.h"
#include "serve/config.h"
#include "serve/serve.h"
#include "serve/worker.h"

extern const struct cli_command serve_command;

const struct cli_command *const main_commands[] = { &serve_command };
const size_t main_n_commands = ARRAY_SIZE(main_commands);

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

static int run_worker(const struct cli_args *args, struct error *err)
{
	(void)args;
	(void)err;
	return worker_main(WORKER_FD) < 0 ? CLI_FAILED : CLI_DONE;
}

static const struct cli_option *const worker_tables[] = { options_common, NULL };

/* What the service starts for each capture (serve/worker.h). */
static const struct cli_command worker = {
	.name = "serve-worker",
	.summary = "captures for memwho serve; not for the command line",
	.usage = "[OPTION...]",
	.details = "",
	.option_tables = worker_tables,
	.hidden = true,
	.run = run_worker,
};

int main(int argc, char **argv)
{
	struct cli_command command = serve_command;
	struct error err = { 0 };

	program_begin();
	if (argc > 1 && !strcmp(argv[1], worker.name))
		return program_finish(program_run(&worker, argc - 2, argv + 2, &err), &err);
	if (argc < 2 || strcmp(argv[1], command.name) != 0) {
		fputs("memwho-serve is a part of memwho: memwho serve --help\n", stderr);
		return CLI_USAGE;
	}
	command.run = run;
	return program_finish(program_run(&command, argc - 2, argv + 2, &err), &err);
}
