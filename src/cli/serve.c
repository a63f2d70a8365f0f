/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include <config.h> /* in quotes it would be that of src/serve/ */

/* The folder of our own executable, with the '/'. */
static bool own_folder(char *ret, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", ret, size - 1);
	char *slash;

	if (n <= 0)
		return false;
	ret[n] = '\0';
	slash = strrchr(ret, '/');
	if (slash)
		slash[1] = '\0';
	return slash;
}

/* Beside us (in a build tree), or where it is installed; there also if the whole tree was
 * moved. Returns only if it is nowhere. */
static void exec_program(char **argv)
{
	static const char *const places[] = { "memwho-serve", "../libexec/memwho/memwho-serve" };
	char folder[2048], path[4096];
	bool known = own_folder(folder, sizeof(folder));

	for (size_t i = 0; known && i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s%s", folder, places[i]);
		execv(path, argv);
		if (errno != ENOENT && errno != ENOTDIR)
			return;
	}
	execv(LIBEXEC "/memwho-serve", argv);
}

/* It parses them itself: options in the order in which they were given. */
static char **arguments(const struct cli_args *args)
{
	char **argv = calloc(2 + 2 * args->n_options + args->n_words + 1, sizeof(*argv));
	size_t n = 0;

	if (!argv)
		return NULL;
	argv[n++] = (char *)"memwho";
	argv[n++] = (char *)"serve";
	for (size_t i = 0; i < args->n_options; i++) {
		if (asprintf(&argv[n], "--%s", args->options[i]->name) < 0)
			return NULL;
		n++;
		if (args->options[i]->arg)
			argv[n++] = (char *)args->values[i];
	}
	for (size_t i = 0; i < args->n_words; i++)
		argv[n++] = args->words[i];
	return argv;
}

/* The service is a program of its own, that keeps our process: its libraries would make
 * every other command start five times slower. */
static int run(const struct cli_args *args, struct error *err)
{
	const char *path;
	char **argv;
	int r = cli_word(args, "FILE", &path, err);

	if (r < 0)
		return r;
	argv = arguments(args); /* gone with the exec, or at our end */
	if (!argv)
		return error_oom(err);
	exec_program(argv);
	r = errno;
	if (r != ENOENT)
		return error_sys(err, r, "cannot start memwho-serve");
	error_set(err, r, "memwho-serve is not installed");
	return error_hint(err, "it belongs beside memwho, or into " LIBEXEC);
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
