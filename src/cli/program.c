/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "cli/args.h"
#include "cli/help.h"

/* Started with one of the three closed, we would open some file under its number
 * and write remarks into it. Writing to a closed output still fails. */
void program_begin(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
			return;
	}
}

int program_finish(int r, const struct error *err)
{
	if (r < 0)
		error_print(err, stderr);
	/* a full disk or a closed pipe behind standard output is a failure, too */
	if (fflush(stdout) || ferror(stdout)) {
		if (r >= 0)
			fprintf(stderr, "memwho: standard output: %s\n", strerror(errno));
		r = r < 0 ? r : -EIO;
	}
	if (r == -EINVAL)
		return CLI_USAGE;
	return r < 0 ? CLI_FAILED : r;
}

int program_run(const struct cli_command *command, int argc, char **argv, struct error *err)
{
	cleanup(args_clear) struct cli_args args = { 0 };
	int r = args_parse(command, argc, argv, &args, err);

	if (r < 0)
		return err->hint[0] ? r : error_hint(err, "memwho %s --help", command->name);
	if (cli_flag(&args, "help")) {
		help_command_text(command, stdout);
		return CLI_DONE;
	}
	cli_begin(&args);
	r = feature_check(err);
	if (r == 0)
		r = command->run(&args, err);
	if (r == -EINVAL && !err->hint[0])
		error_hint(err, "memwho %s --help", command->name);
	return r;
}
