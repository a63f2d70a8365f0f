/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/nearest.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/targets.h"
#include "cli/top_write.h"
#include "target/proc.h"

enum {
	ROWS = 20,
	BUDGET_NS = 600000000, /* of looking into processes; the reading of 300 is some 30 ms */
};

struct look {
	const struct cli_args *args;
	const struct top_key *key;
	size_t rows; /* 0: all */
	double every_s, duration_s;
	bool json, pss, all;
};

static int unknown_key(const char *name, struct error *err)
{
	struct nearest near = nearest_to(name);
	char list[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < top_n_keys && used < sizeof(list); i++) {
		nearest_offer(&near, top_keys[i].name);
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
		                         top_keys[i].name);
	}
	error_set(err, EINVAL, "--sort %s: no such column", name);
	if (near.name)
		return error_hint(err, "did you mean %s? all: %s", near.name, list);
	return error_hint(err, "columns: %s", list);
}

static int parse(const struct cli_args *args, struct look *l, struct error *err)
{
	const char *key = cli_value(args, "sort");
	unsigned long long rows;
	int r;

	*l = (struct look){ .args = args,
		            .json = cli_flag(args, "json"),
		            .pss = cli_flag(args, "pss"),
		            .all = cli_flag(args, "all") };
	l->key = top_find_key(key ? key : "resident");
	if (!l->key)
		return unknown_key(key, err);
	rows = l->json ? 0 : ROWS;
	r = cli_number(args, "rows", &rows, err);
	if (r == 0)
		r = cli_duration(args, "every", &l->every_s, err);
	if (r == 0)
		r = cli_duration(args, "duration", &l->duration_s, err);
	if (r == 0 && l->duration_s > 0 && !(l->every_s > 0))
		r = error_set(err, EINVAL, "--duration goes with --every");
	if (r == 0 && !strcmp(l->key->name, "growth") && !(l->every_s > 0)) {
		error_set(err, EINVAL, "--sort growth needs two looks");
		r = error_hint(err, "add --every 2s");
	}
	l->rows = rows > SIZE_MAX ? SIZE_MAX : (size_t)rows;
	l->pss |= l->key->needs_pss;
	return r;
}

/* Every process but ourselves. */
static int everything(struct targets *to, struct error *err)
{
	size_t n = 0;
	int r = proc_ids(AT_FDCWD, "/proc", &to->items, &to->n);

	if (r < 0)
		return error_sys(err, -r, "/proc");
	to->cap = to->n;
	for (size_t i = 0; i < to->n; i++) {
		if (to->items[i] != getpid())
			to->items[n++] = to->items[i];
	}
	to->n = n;
	return 0;
}

static int find(const struct look *l, struct targets *to, struct error *err)
{
	const struct cli_args *a = l->args;

	return a->n_words ? targets_add(to, a->words, a->n_words, cli_flag(a, "follow"), err)
	                  : everything(to, err);
}

/* The cgroup that was named, with its figures; none otherwise. */
static int find_cgroup(const struct look *l, const struct targets *pids, struct cgroup **ret,
                       struct error *err)
{
	cleanup_free struct memory_cgroup *place = malloc(sizeof(*place));
	cleanup_free struct cgroup *c = malloc(sizeof(*c));
	const char *word = l->args->n_words == 1 ? l->args->words[0] : "";
	struct error ignored;
	int r;

	if (strncmp(word, "cgroup:", 7) != 0 && strncmp(word, "container:", 10) != 0)
		return 0;
	if (!place || !c)
		return error_oom(err);
	r = cgroup_find(l->args->words, 1, pids->items, pids->n, place, err);
	if (r == 1 && cgroup_read(place, c, &ignored) == 0)
		*ret = take_ptr(c);
	return r < 0 ? r : 0;
}

static int read_all(const struct look *l, const struct targets *pids, const struct top *before,
                    struct top *ret, size_t *ret_shown, struct error *err)
{
	cleanup(top_clear) struct top t = { 0 };
	bool sorted_by_look = l->key->needs_look || l->key->needs_pss;
	int r = top_read(pids->items, pids->n, &t, err);
	size_t shown;

	if (r < 0)
		return r;
	if (before->at_ns)
		top_grow(&t, before);
	shown = !l->rows || l->rows > t.n_rows ? t.n_rows : l->rows;
	if (!sorted_by_look)
		top_sort(&t, l->key);
	/* what is sorted by such a figure needs it of each process, however long that takes */
	r = top_look(&t, sorted_by_look ? t.n_rows : shown,
	             sorted_by_look || l->all ? 0 : BUDGET_NS, true, l->pss, err);
	if (r < 0)
		return r;
	if (sorted_by_look)
		top_sort(&t, l->key);
	*ret_shown = shown;
	*ret = t;
	t = (struct top){ 0 };
	return 0;
}

static void tell(const struct look *l, const struct top *t, const struct cgroup *c, size_t shown)
{
	const struct top_view v = {
		.top = t, .cgroup = c, .n_shown = shown, .pss = l->pss, .growth = l->every_s > 0
	};

	if (l->json)
		top_write_json(&v, stdout);
	else
		top_write_table(&v, stdout);
	fflush(stdout);
}

static int look_once(const struct look *l, struct top *before, struct error *err)
{
	cleanup(targets_clear) struct targets pids = { 0 };
	cleanup(top_clear) struct top now = { 0 };
	cleanup_free struct cgroup *c = NULL;
	size_t shown = 0;
	int r = find(l, &pids, err);

	if (r == 0)
		r = read_all(l, &pids, before, &now, &shown, err);
	if (r == 0)
		r = find_cgroup(l, &pids, &c, err);
	if (r == 0 && l->args->n_words && !now.n_rows) {
		error_set(err, ESRCH, "no process of '%s' runs and has memory", l->args->words[0]);
		r = error_hint(err, "memwho top without a target shows all processes");
	}
	if (r < 0)
		return r;
	if (!l->json && before->at_ns)
		fputs(isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "\n", stdout);
	tell(l, &now, c, shown);
	top_clear(before);
	*before = now;
	now = (struct top){ 0 };
	return 0;
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(top_clear) struct top before = { 0 };
	uint64_t began = clock_now_ns(), next = began;
	struct look l;
	int r = parse(args, &l, err);

	if (r < 0)
		return r;
	if (l.every_s > 0)
		interrupt_catch();
	for (;;) {
		bool first = !before.at_ns;

		r = look_once(&l, &before, err);
		/* what was looked at has ended: the end of the story, not a failure */
		if (r == -ESRCH && !first)
			return CLI_DONE;
		if (r < 0 || !(l.every_s > 0) || ferror(stdout))
			return r < 0 ? r : CLI_DONE;
		next += (uint64_t)(l.every_s * 1e9);
		if (next < clock_now_ns()) /* looks that took longer are not made up for */
			next = clock_now_ns();
		if (l.duration_s > 0 && (double)(next - began) / 1e9 > l.duration_s + 0.001)
			return CLI_DONE;
		if (!interrupt_sleep_until(next))
			return CLI_DONE;
	}
}

static const struct cli_option own[] = {
	{ 0, NULL, NULL, "What is shown" },
	{ 0, "sort", "COLUMN", "resident (default), virtual, swap, threads, ..." },
	{ 0, "rows", "N", "processes in the table (20); 0: all" },
	{ 0, "pss", NULL, "proportional share (smaps_rollup); dear" },
	{ 0, "all", NULL, "look into every row shown, however long it takes" },
	{ 0, "follow", NULL, "children of the targets, too" },
	{ 0, "json", NULL, "for scripts; with --every a line for each look" },
	{ 0, NULL, NULL, "Again and again" },
	{ 0, "every", "TIME", "look again every TIME until Ctrl-C; growth" },
	{ 'd', "duration", "TIME", "with --every: end after TIME" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_common, NULL };

const struct cli_command top_command = {
	.name = "top",
	.summary = "processes side by side, by memory",
	.usage = "[OPTION...] [TARGET...]",
	.details =
		"All processes of the machine, or those of TARGET: a PID, a process name,\n"
		"pidfile:PATH, cgroup:PATH or container:ID. Virtual, resident and swap are the\n"
		"kernel's counters; allocator and unnamed come from the ladder of the rows that\n"
		"are shown, for at most about half a second. Columns to sort by: resident,\n"
		"virtual, swap, growth, threads, pid, name, container, allocator, unnamed, pss.\n"
		"\n"
		"  memwho top                       who has the most\n"
		"  memwho top --every 2s --sort growth\n"
		"  memwho top container:3f29ab --pss",
	.option_tables = tables,
	.run = run,
};
