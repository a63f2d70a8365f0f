/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/help.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"

enum { OPTION_COLUMNS = 28, COMMAND_COLUMNS = 14 };

static void print_option(const struct cli_option *o, FILE *to)
{
	char letter[5] = "    ", left[80];
	int n;

	if (!o->name) {
		fprintf(to, "\n%s:\n", o->help);
		return;
	}
	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	n = snprintf(left, sizeof(left), "  %s--%s%s%s", letter, o->name, o->arg ? " " : "",
	             o->arg ? o->arg : "");
	if (n > OPTION_COLUMNS - 2)
		fprintf(to, "%s\n%*s%s\n", left, OPTION_COLUMNS, "", o->help);
	else
		fprintf(to, "%-*s%s\n", OPTION_COLUMNS, left, o->help);
}

void help_command_text(const struct cli_command *command, FILE *to)
{
	fprintf(to, "memwho %s: %s\n\nusage: memwho %s %s\n", command->name, command->summary,
	        command->name, command->usage);
	for (const struct cli_option *const *t = command->option_tables; *t; t++) {
		for (const struct cli_option *o = *t; o->name || o->help; o++)
			print_option(o, to);
	}
	if (command->details[0])
		fprintf(to, "\n%s\n", command->details);
}

void help_overview(FILE *to)
{
	fputs("memwho: who holds this process's memory?\n\n"
	      "usage: memwho TARGET [OPTION...]\n"
	      "       memwho COMMAND [OPTION...] [TARGET]\n\ncommands:\n",
	      to);
	for (size_t i = 0; i < main_n_commands; i++) {
		const struct cli_command *c = main_commands[i];

		if (!c->hidden)
			fprintf(to, "  %-*s%s\n", COMMAND_COLUMNS - 2, c->name, c->summary);
	}
	fputs("\ntargets: PID, the name of a process (if only one has it),\n"
	      "  pidfile:PATH, cgroup:PATH, container:ID\n\n"
	      "memwho COMMAND --help shows its options, memwho --version [--json] the build.\n",
	      to);
}

static void json_option(struct json *j, const struct cli_option *o)
{
	char letter[2] = { o->letter, '\0' };

	json_object(j);
	json_key(j, "name");
	json_string(j, o->name);
	json_key(j, "letter");
	json_string(j, letter);
	json_key(j, "arg");
	if (o->arg)
		json_string(j, o->arg);
	else
		json_null(j);
	json_key(j, "help");
	json_string(j, o->help);
	json_object_end(j);
}

static void json_command(struct json *j, const struct cli_command *c)
{
	json_object(j);
	json_key(j, "name");
	json_string(j, c->name);
	json_key(j, "summary");
	json_string(j, c->summary);
	json_key(j, "usage");
	json_string(j, c->usage);
	json_key(j, "hidden");
	json_bool(j, c->hidden);
	json_key(j, "options");
	json_array(j);
	for (const struct cli_option *const *t = c->option_tables; *t; t++) {
		for (const struct cli_option *o = *t; o->name || o->help; o++) {
			if (o->name)
				json_option(j, o);
		}
	}
	json_array_end(j);
	json_object_end(j);
}

void help_json(FILE *to)
{
	struct json j = json_on(to);

	json_object(&j);
	json_key(&j, "commands");
	json_array(&j);
	for (size_t i = 0; i < main_n_commands; i++)
		json_command(&j, main_commands[i]);
	json_array_end(&j);
	json_object_end(&j);
	fputc('\n', to);
}

static int run(const struct cli_args *args, struct error *err)
{
	const struct cli_command *c;

	if (!args->n_words) {
		help_overview(stdout);
		return CLI_DONE;
	}
	c = cli_find(args->words[0]);
	if (!c)
		return error_set(err, EINVAL, "no command '%s'", args->words[0]);
	help_command_text(c, stdout);
	return CLI_DONE;
}

static const struct cli_option *const tables[] = { options_common, NULL };

const struct cli_command help_command = {
	.name = "help",
	.summary = "show the help of a command",
	.usage = "[COMMAND]",
	.details = "",
	.option_tables = tables,
	.run = run,
};
