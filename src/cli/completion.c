/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Scripts that know every command and option because they are printed from
 * the tables: `eval "$(memwho completion bash)"`. */

static void each_option(const struct cli_command *c,
                        void (*print)(const struct cli_option *o, void *state), void *state)
{
	for (const struct cli_option *const *t = c->option_tables; *t; t++) {
		for (const struct cli_option *o = *t; o->name || o->help; o++) {
			if (o->name)
				print(o, state);
		}
	}
}

static bool is_path(const struct cli_option *o)
{
	return o->arg && (!strcmp(o->arg, "FILE") || !strcmp(o->arg, "PATH"));
}

static void bash_option(const struct cli_option *o, void *state)
{
	if (o->letter)
		printf(" -%c", o->letter);
	printf(" --%s", o->name);
}

/* Patterns of the options that take an argument: "-d|--duration|". */
static void bash_with_argument(const struct cli_option *o, void *state)
{
	const bool *path = state;

	if (!o->arg || is_path(o) != *path)
		return;
	if (o->letter)
		printf("|-%c", o->letter);
	printf("|--%s", o->name);
}

/* "memwho TARGET" is the ladder's, too. */
static const char *targets(const struct cli_command *c)
{
	return !strcmp(c->name, "ladder") ? "|[0-9]*|pidfile:*|cgroup:*|container:*" : "";
}

static void bash_command(const struct cli_command *c)
{
	bool path = true, other = false;

	/* "-" alone never comes before the cursor as an option: it starts the lists */
	printf("\t%s%s)\n\t\toptions=\"", c->name, targets(c));
	each_option(c, bash_option, NULL);
	printf("\"\n\t\tpaths=\"-");
	each_option(c, bash_with_argument, &path);
	printf("\"\n\t\tvalues=\"-");
	each_option(c, bash_with_argument, &other);
	printf("\" ;;\n");
}

static void bash(void)
{
	puts("# bash completion for memwho; made by: memwho completion bash\n"
	     "_memwho()\n{\n"
	     "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
	     "\tlocal options= paths= values=\n"
	     "\tCOMPREPLY=()\n"
	     "\tcase ${COMP_WORDS[1]} in");
	for (size_t i = 0; i < main_n_commands; i++)
		bash_command(main_commands[i]);
	printf("\tesac\n"
	       "\tif [ \"$COMP_CWORD\" = 1 ]; then\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -W \"");
	for (size_t i = 0; i < main_n_commands; i++) {
		if (!main_commands[i]->hidden)
			printf("%s ", main_commands[i]->name);
	}
	puts("--help --version\" -- \"$word\")\n"
	     "\telif [[ \"|$paths|\" == *\"|$before|\"* ]]; then\n"
	     "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
	     "\telif [[ \"|$values|\" == *\"|$before|\"* ]]; then\n"
	     "\t\treturn\n"
	     "\telif [[ $word == -* ]]; then\n"
	     "\t\tmapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n"
	     "\telse\n"
	     "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
	     "\tfi\n"
	     "}\n"
	     "complete -F _memwho memwho");
}

/* Help texts hold [ ] : ' which mean something to _arguments. */
static void zsh_text(const char *text)
{
	for (; *text; text++) {
		if (strchr("[]:\\", *text))
			putchar('\\');
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	}
}

static void zsh_tail(const struct cli_option *o)
{
	putchar('[');
	zsh_text(o->help);
	putchar(']');
	if (o->arg)
		printf(":%s:%s", o->arg, is_path(o) ? "_files" : " ");
	fputs("' \\\n", stdout);
}

static void zsh_option(const struct cli_option *o, void *state)
{
	if (o->letter) {
		printf("\t\t\t'*-%c", o->letter);
		zsh_tail(o);
	}
	printf("\t\t\t'*--%s%s", o->name, o->arg ? "=" : "");
	zsh_tail(o);
}

static void zsh(void)
{
	puts("#compdef memwho\n# zsh completion for memwho; made by: memwho completion zsh\n"
	     "_memwho() {\n"
	     "\tlocal -a commands\n\tcommands=(");
	for (size_t i = 0; i < main_n_commands; i++) {
		const struct cli_command *c = main_commands[i];

		if (c->hidden)
			continue;
		printf("\t\t'%s:", c->name);
		zsh_text(c->summary);
		puts("'");
	}
	puts("\t)\n"
	     "\tif (( CURRENT == 2 )); then\n\t\t_describe command commands\n\t\treturn\n\tfi\n"
	     "\tlocal command=$words[2]\n\tshift words\n\t(( CURRENT-- ))\n"
	     "\tcase $command in");
	for (size_t i = 0; i < main_n_commands; i++) {
		printf("\t(%s%s)\n\t\t_arguments \\\n", main_commands[i]->name,
		       targets(main_commands[i]));
		each_option(main_commands[i], zsh_option, NULL);
		puts("\t\t\t'*:target:_files' ;;");
	}
	puts("\tesac\n}\n"
	     "if [ \"$funcstack[1]\" = _memwho ]; then\n\t_memwho \"$@\"\nelse\n"
	     "\tcompdef _memwho memwho\nfi");
}

static int run(const struct cli_args *args, struct error *err)
{
	const char *shell;
	int r = cli_word(args, "SHELL", &shell, err);

	if (r < 0)
		return r;
	if (!strcmp(shell, "bash"))
		bash();
	else if (!strcmp(shell, "zsh"))
		zsh();
	else
		return error_set(err, EINVAL, "no completion for '%s': bash or zsh", shell);
	return CLI_DONE;
}

static const struct cli_option *const tables[] = { options_common, NULL };

const struct cli_command completion_command = {
	.name = "completion",
	.summary = "print a completion script for bash or zsh",
	.usage = "bash|zsh",
	.details = "In ~/.bashrc:  eval \"$(memwho completion bash)\"\n"
		   "In ~/.zshrc:   eval \"$(memwho completion zsh)\"",
	.option_tables = tables,
	.run = run,
};
