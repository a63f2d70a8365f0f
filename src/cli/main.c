/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "base/nearest.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/help.h"
#include "target/target.h"

extern const struct cli_command ladder_command, top_command, map_command, alloc_command,
	run_command, render_command, diff_command, doctor_command, completion_command,
	version_command, help_command, what_command, refs_command, detach_command, serve_command,
	serve_worker_command, trim_command, delta_command, je_command;

/* The only list: one line for a command, in the order of the help. */
const struct cli_command *const main_commands[] = {
	&ladder_command, &top_command,    &map_command,          &alloc_command,
	&run_command,    &refs_command,   &what_command,         &render_command,
	&diff_command,   &delta_command,  &je_command,           &trim_command,
	&detach_command, &doctor_command, &completion_command,   &version_command,
	&help_command,   &serve_command,  &serve_worker_command,
};
const size_t main_n_commands = ARRAY_SIZE(main_commands);

/* Failures are printed here and nowhere else. */
static int finish(int r, const struct error *err)
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

static int unknown_command(const char *name, struct error *err)
{
	struct nearest near = nearest_to(name);
	int r;

	for (size_t i = 0; i < main_n_commands; i++) {
		if (!main_commands[i]->hidden)
			nearest_offer(&near, main_commands[i]->name);
	}
	if (name[0] == '-')
		r = error_set(err, EINVAL, "the first word is a command, not %s", name);
	else
		r = error_set(err, EINVAL, "no command '%s'", name);
	if (near.name)
		error_hint(err, "did you mean memwho %s?", near.name);
	else
		error_hint(err, "memwho --help lists the commands");
	return r;
}

/* "memwho 4711" is "memwho ladder 4711". A word that is no command but means a
 * process: a number, a spec, or the name of one that runs (of several: the error
 * lists them). */
static bool is_target(const char *word)
{
	static const char *const specs[] = { "pidfile:", "cgroup:", "container:" };
	cleanup_free pid_t *pids = NULL;
	struct error ignored;
	size_t n = 0;
	int r;

	if (word[0] == '\0' || word[0] == '-')
		return false;
	if (word[strspn(word, "0123456789")] == '\0')
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		if (!strncmp(word, specs[i], strlen(specs[i])))
			return true;
	}
	r = target_resolve(word, &pids, &n, &ignored);
	return r == 0 || r == -EEXIST;
}

static int dispatch(const struct cli_command *command, int argc, char **argv, struct error *err)
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

/* Started with one of the three closed, we would open some file under its number
 * and write remarks into it. Writing to a closed output still fails. */
static void fill_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
			return;
	}
}

int main(int argc, char **argv)
{
	struct error err = { 0 };
	const struct cli_command *command;
	const char *name = argc > 1 ? argv[1] : "";

	fill_standard_descriptors();
	if (argc < 2) {
		help_overview(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(name, "--dump-options")) { /* for tools/check-man.py */
		help_json(stdout);
		return finish(CLI_DONE, &err);
	}
	if (!strcmp(name, "-h") || !strcmp(name, "--help"))
		name = "help";
	if (!strcmp(name, "-V") || !strcmp(name, "--version"))
		name = "version";
	command = cli_find(name);
	if (!command && is_target(name))
		return finish(dispatch(&ladder_command, argc - 1, argv + 1, &err), &err);
	if (!command)
		return finish(unknown_command(name, &err), &err);
	return finish(dispatch(command, argc - 2, argv + 2, &err), &err);
}
