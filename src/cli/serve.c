/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/config.h"

#include <errno.h>

#include "base/cleanup.h"
#include "cli/cli.h"

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(config_clear) struct config c = { 0 };
	const char *path;
	int r = cli_word(args, "FILE", &path, err);

	if (r == 0)
		r = config_read(path, &c, err);
	if (r < 0)
		return r;
	if (cli_flag(args, "check")) {
		cli_say("%s: %zu targets, %zu triggers, %zu pushes; listens on %s", path,
		        c.n_targets, c.n_triggers, c.n_pushes, c.listen);
		return CLI_DONE;
	}
	return error_set(err, ENOSYS, "only --check so far");
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
	.hidden = true,
	.run = run,
};
