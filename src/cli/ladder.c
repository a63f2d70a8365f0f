/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/contexts.h"
#include "cli/live_ladder.h"
#include "cli/show.h"
#include "cli/targets.h"
#include "cli/watch.h"
#include "map/cgroup.h"

/* "--watch 2s": the word behind the flag is no process, it is a time. */
static bool is_time(const char *word)
{
	size_t n = strspn(word, "0123456789.");

	return n && (!strcmp(word + n, "s") || !strcmp(word + n, "ms") || !strcmp(word + n, "m"));
}

static int find_targets(const struct cli_args *args, bool watch, double *every_s,
                        struct targets *to, struct error *err)
{
	char **words = args->words;
	size_t n = args->n_words;

	if (watch && n > 1 && is_time(words[n - 1])) {
		char *end;
		double v = strtod(words[--n], &end);

		*every_s = !strcmp(end, "ms") ? v / 1000 : !strcmp(end, "m") ? v * 60 : v;
	}
	if (!n) {
		error_set(err, EINVAL, "which process? memwho ladder needs a TARGET");
		return error_hint(err, "memwho ladder --help");
	}
	return targets_add(to, words, n, cli_flag(args, "follow"), err);
}

static int parse(const struct cli_args *args, struct watch *w, struct targets *to,
                 struct error *err)
{
	bool watch = cli_flag(args, "watch");
	int r = show_parse(args, &w->show, err);

	w->ladder.pss = cli_flag(args, "pss");
	w->ladder.stop = cli_flag(args, "stop");
	w->every_s = 1;
	if (r == 0)
		r = cli_duration(args, "every", &w->every_s, err);
	if (r == 0)
		r = cli_duration(args, "duration", &w->duration_s, err);
	if (r == 0 && !watch && (cli_value(args, "every") || cli_value(args, "duration")))
		r = error_set(err, EINVAL, "--every and --duration go with --watch");
	if (r == 0)
		r = find_targets(args, watch, &w->every_s, to, err);
	if (r == 0 && !(w->every_s > 0 && w->every_s < 86400))
		r = error_set(err, EINVAL, "--watch %g: not a time between looks", w->every_s);
	return r < 0 ? r : render_can_write(w->show.path, err);
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(targets_clear) struct targets pids = { 0 };
	struct watch w = { 0 };
	int r = parse(args, &w, &pids, err);

	if (r < 0)
		return r;
	if (cli_flag(args, "contexts")) {
		r = contexts_show(pids.items, pids.n, cli_flag(args, "follow"), &w.show, err);
		return r < 0 ? r : CLI_DONE;
	}
	if (cli_flag(args, "watch"))
		return watch_run(&w, pids.items, pids.n, err);
	r = live_ladder_read(pids.items, pids.n, &w.ladder,
	                     strcmp(w.show.format->name, "table") != 0, &p, err);
	if (r == 0)
		r = cgroup_report_target(args->words, args->n_words, pids.items, pids.n,
		                         profile_report(p), err);
	if (r == 0)
		r = show_profile(&w.show, p, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, NULL, NULL, "What is read" },
	{ 0, "pss", NULL, "proportional share of each row (smaps); dear" },
	{ 0, "stop", NULL, "stop the target while it is read: exact figures" },
	{ 0, "follow", NULL, "children of the target, too" },
	{ 0, "contexts", NULL, "PostgreSQL's memory contexts; --follow: the server's" },
	{ 0, "all", NULL, "every row with its evidence (same as --rows 0)" },
	{ 0, NULL, NULL, "Watching" },
	{ 0, "watch", NULL, "look again and again: what grows, per second" },
	{ 0, "every", "TIME", "from look to look (1s)" },
	{ 'd', "duration", "TIME", "watch for TIME (else Ctrl-C)" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_output, options_view,
	                                           options_common, NULL };

const struct cli_command ladder_command = {
	.name = "ladder",
	.summary = "what a process's memory is: every byte in a row with its owner",
	.usage = "[OPTION...] TARGET...",
	.details = "memwho TARGET is the same. Virtual rows add up to VmSize; resident is counted\n"
		   "from page tables. A range without proven owner is in the row unnamed. TARGET\n"
		   "is a PID, a process name, pidfile:PATH, cgroup:PATH or container:ID; several\n"
		   "are summed. Looking changes nothing in the process.\n"
		   "\n"
		   "  memwho 4711                    a table\n"
		   "  memwho 4711 --json             for scripts\n"
		   "  memwho 4711 --watch 2s         what grows\n"
		   "  memwho 4711 --contexts         a PostgreSQL backend's contexts\n"
		   "  memwho ladder 4711 -o now.json to compare it later",
	.option_tables = tables,
	.run = run,
};
