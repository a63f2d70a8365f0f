/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "map/ladder.h"
#include "symbol/symbol.h"
#include "target/target.h"

struct pids {
	pid_t *items;
	size_t n, cap;
};

struct ladders {
	struct ladder *items;
	size_t n, cap;
};

static void clear_pids(struct pids *p)
{
	free(p->items);
}

static void clear_ladders(struct ladders *l)
{
	for (size_t i = 0; i < l->n; i++)
		ladder_clear(&l->items[i]);
	free(l->items);
}

static int add_pids(struct pids *to, const pid_t *from, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;
		int r;

		while (k < to->n && to->items[k] != from[i])
			k++;
		if (k < to->n)
			continue;
		r = array_reserve(&to->items, &to->cap, to->n + 1, err);
		if (r < 0)
			return r;
		to->items[to->n++] = from[i];
	}
	return 0;
}

static int add_target(struct pids *to, const char *spec, bool follow, struct error *err)
{
	cleanup_free pid_t *found = NULL;
	size_t n = 0;
	int r = target_resolve(spec, &found, &n, err);

	if (r == 0)
		r = add_pids(to, found, n, err);
	for (size_t i = 0; r == 0 && follow && i < n; i++) {
		cleanup_free pid_t *children = NULL;
		size_t n_children = 0;

		r = target_descendants(found[i], &children, &n_children, err);
		if (r == 0)
			r = add_pids(to, children, n_children, err);
	}
	return r;
}

static int read_one(pid_t pid, struct symbol_pool *pool, const struct ladder_options *o,
                    struct ladder *ret, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	int r = target_open(pid, &t, err);

	if (r == 0)
		r = symbol_space_new(pool, t, &space, err);
	if (r == 0)
		r = ladder_read(t, space, o, ret, err);
	/* whatever could not be read: this is why */
	if (r < 0 && t && target_alive(t) < 0)
		r = error_set(err, ESRCH, "process %d (%s) has ended", pid, t->comm);
	return r;
}

/* One of several that ends meanwhile is left out. */
static int read_all(const struct pids *pids, const struct ladder_options *o, struct ladders *to,
                    struct error *err)
{
	const struct symbol_options symbols = { .no_debuginfod = true, .no_inline = true };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	int r = symbol_pool_new(&symbols, &pool, err);

	for (size_t i = 0; r == 0 && i < pids->n; i++) {
		r = array_reserve(&to->items, &to->cap, to->n + 1, err);
		if (r == 0)
			r = read_one(pids->items[i], pool, o, &to->items[to->n], err);
		if (r == 0)
			to->n++;
		else if (r == -ESRCH && (to->n || i + 1 < pids->n)) {
			cli_say("%s; left out", err->message);
			r = 0;
		}
	}
	return r;
}

static int find_targets(const struct cli_args *args, struct pids *to, struct error *err)
{
	int r = 0;

	if (!args->n_words) {
		error_set(err, EINVAL, "which process? memwho ladder needs a TARGET");
		return error_hint(err, "memwho ladder --help");
	}
	for (size_t i = 0; r == 0 && i < args->n_words; i++)
		r = add_target(to, args->words[i], cli_flag(args, "follow"), err);
	if (r == 0 && !to->n)
		r = error_set(err, ESRCH, "no process in '%s'", args->words[0]);
	return r;
}

static int run(const struct cli_args *args, struct error *err)
{
	const struct ladder_options options = { .pss = cli_flag(args, "pss"),
		                                .stop = cli_flag(args, "stop") };
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(clear_ladders) struct ladders all = { 0 };
	cleanup(clear_pids) struct pids pids = { 0 };
	struct show show;
	int r = show_parse(args, &show, err);

	if (r == 0)
		r = find_targets(args, &pids, err);
	if (r == 0)
		r = render_can_write(show.path, err);
	if (r == 0)
		r = read_all(&pids, &options, &all, err);
	if (r == 0)
		r = ladder_profile(all.items, all.n, &p, err);
	if (r == 0)
		r = show_profile(&show, p, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, NULL, NULL, "What is read" },
	{ 0, "pss", NULL, "proportional share of each row (smaps); dear" },
	{ 0, "stop", NULL, "stop the target while it is read: exact figures" },
	{ 0, "follow", NULL, "children of the target, too" },
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
		   "  memwho ladder 4711 -o now.json to compare it later",
	.option_tables = tables,
	.run = run,
};
