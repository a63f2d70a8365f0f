/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/checks.h"
#include "cli/cli.h"
#include "config.h"
#include "target/target.h"

enum { STATE_COLUMNS = 9, NAME_COLUMNS = 21 };

static void print_text(const char *text)
{
	for (; *text; text++)
		putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

static void write_text(const struct checks *c)
{
	printf("memwho %s\n\n", VERSION);
	for (size_t i = 0; i < c->n; i++) {
		const struct checks_item *item = &c->items[i];

		printf("%-*s%-*s", STATE_COLUMNS, checks_state_name(item->state), NAME_COLUMNS,
		       item->name);
		print_text(item->detail);
		if (item->remedy[0]) {
			printf("\n%*s-> ", STATE_COLUMNS + NAME_COLUMNS, "");
			print_text(item->remedy);
		}
		putchar('\n');
	}
	printf("\nmemwho alloc %s here\n", checks_usable(c) ? "works" : "cannot work");
}

static void write_json(const struct checks *c)
{
	struct json j = json_on(stdout);

	json_object(&j);
	json_key(&j, "version");
	json_string(&j, VERSION);
	json_key(&j, "works");
	json_bool(&j, checks_usable(c));
	json_key(&j, "checks");
	json_array(&j);
	for (size_t i = 0; i < c->n; i++) {
		json_object(&j);
		json_key(&j, "name");
		json_string(&j, c->items[i].name);
		json_key(&j, "state");
		json_string(&j, checks_state_name(c->items[i].state));
		json_key(&j, "detail");
		json_string(&j, c->items[i].detail);
		json_key(&j, "remedy");
		json_string(&j, c->items[i].remedy);
		json_object_end(&j);
	}
	json_array_end(&j);
	json_object_end(&j);
	putchar('\n');
}

static int check_targets(struct checks *to, const char *spec, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	const size_t n_machine = to->n;
	size_t n = 0;
	int r = target_resolve(spec, &pids, &n, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		r = checks_process(to, pids[i], err);
		if (r == 0)
			r = checks_engines(to, pids[i], n_machine, err);
	}
	return r;
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(checks_clear) struct checks checks = { 0 };
	const char *spec = NULL;
	int r = 0;

	if (args->n_words)
		r = cli_word(args, "TARGET", &spec, err);
	if (r == 0)
		r = checks_machine(&checks, err);
	if (r == 0)
		r = spec ? check_targets(&checks, spec, err)
		         : checks_engines(&checks, 0, checks.n, err);
	if (r < 0)
		return r;
	if (cli_flag(args, "json"))
		write_json(&checks);
	else
		write_text(&checks);
	return checks_usable(&checks) ? CLI_DONE : CLI_FAILED;
}

static const struct cli_option own[] = {
	{ 0, "json", NULL, "for scripts" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_common, NULL };

const struct cli_command doctor_command = {
	.name = "doctor",
	.summary = "what works here, or on a process, and what to do about the rest",
	.usage = "[OPTION...] [TARGET]",
	.details = "The exit code is 1 when memwho alloc cannot work, by no engine.",
	.option_tables = tables,
	.run = run,
};
