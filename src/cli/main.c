/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/nearest.h"
#include "cli/cli.h"
#include "cli/help.h"
#include "cli/program.h"
#include "target/target.h"

extern const struct cli_command ladder_command, top_command, map_command, alloc_command,
	run_command, render_command, diff_command, doctor_command, completion_command,
	version_command, help_command, what_command, refs_command, detach_command, serve_command,
	trim_command, delta_command, je_command;

/* The only list: one line for a command, in the order of the help. */
const struct cli_command *const main_commands[] = {
	&ladder_command,  &top_command,  &map_command,    &alloc_command,  &run_command,
	&refs_command,    &what_command, &render_command, &diff_command,   &delta_command,
	&je_command,      &trim_command, &detach_command, &doctor_command, &completion_command,
	&version_command, &help_command, &serve_command,
};
const size_t main_n_commands = ARRAY_SIZE(main_commands);

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

int main(int argc, char **argv)
{
	struct error err = { 0 };
	const struct cli_command *command;
	const char *name = argc > 1 ? argv[1] : "";

	program_begin();
	if (argc < 2) {
		help_overview(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(name, "--dump-options")) { /* for tools/check-man.py */
		help_json(stdout);
		return program_finish(CLI_DONE, &err);
	}
	if (!strcmp(name, "-h") || !strcmp(name, "--help"))
		name = "help";
	if (!strcmp(name, "-V") || !strcmp(name, "--version"))
		name = "version";
	command = cli_find(name);
	if (!command && is_target(name))
		return program_finish(program_run(&ladder_command, argc - 1, argv + 1, &err), &err);
	if (!command)
		return program_finish(unknown_command(name, &err), &err);
	return program_finish(program_run(command, argc - 2, argv + 2, &err), &err);
}
