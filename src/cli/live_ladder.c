/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/live_ladder.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "map/settings.h"
#include "symbol/symbol.h"
#include "target/target.h"

struct ladders {
	struct ladder *items;
	size_t n, cap;
	struct report settings;
};

static void clear_ladders(struct ladders *l)
{
	for (size_t i = 0; i < l->n; i++)
		ladder_clear(&l->items[i]);
	free(l->items);
	report_clear(&l->settings);
}

static int read_one(pid_t pid, struct symbol_pool *pool, const struct ladder_options *o,
                    struct ladder *ret, struct report *settings, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	int r = target_open(pid, &t, err);

	if (r == 0)
		r = symbol_space_new(pool, t, &space, err);
	if (r == 0 && settings)
		r = settings_collect(t, settings, err);
	if (r == 0)
		r = ladder_read(t, space, o, ret, err);
	/* whatever could not be read: this is why */
	if (r < 0 && t && target_alive(t) < 0)
		r = error_set(err, ESRCH, "process %d (%s) has ended", pid, t->comm);
	return r;
}

/* One of several that ends meanwhile is left out. */
static int read_all(const pid_t *pids, size_t n, const struct ladder_options *o, bool settings,
                    struct ladders *to, struct error *err)
{
	const struct symbol_options symbols = { .no_debuginfod = true, .no_inline = true };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	int r = symbol_pool_new(&symbols, &pool, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = array_reserve(&to->items, &to->cap, to->n + 1, err);
		if (r == 0)
			r = read_one(pids[i], pool, o, &to->items[to->n],
			             n == 1 && settings ? &to->settings : NULL, err);
		if (r == 0)
			to->n++;
		else if (r == -ESRCH && (to->n || i + 1 < n)) {
			cli_say("%s; left out", err->message);
			r = 0;
		}
	}
	return r;
}

int live_ladder_read(const pid_t *pids, size_t n, const struct ladder_options *o, bool settings,
                     struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(clear_ladders) struct ladders all = { 0 };
	int r = read_all(pids, n, o, settings, &all, err);

	if (r == 0)
		r = ladder_profile(all.items, all.n, &p, err);
	if (r == 0)
		r = report_copy(profile_report(p), &all.settings, err);
	if (r == 0)
		*ret = take_ptr(p);
	return r;
}
