/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/contexts.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/contexts.h"

struct all {
	struct contexts_process *items;
	size_t n, cap;
};

static void clear_all(struct all *a)
{
	for (size_t i = 0; i < a->n; i++)
		contexts_process_clear(&a->items[i]);
	free(a->items);
}

static int read_one(struct symbol_pool *pool, pid_t pid, struct all *to, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	int r = target_open(pid, &t, err);

	if (r == 0)
		r = symbol_space_new(pool, t, &space, err);
	if (r == 0)
		r = symbol_space_refresh(space, t, err);
	if (r >= 0)
		r = array_reserve(&to->items, &to->cap, to->n + 1, err);
	if (r >= 0)
		r = contexts_read(t, space, &to->items[to->n], err);
	if (r >= 0)
		to->n++;
	return r < 0 ? r : 0;
}

/* One of several that has ended, or has no contexts (yet), is left out. */
static int read_all(const pid_t *pids, size_t n, struct all *to, struct error *err)
{
	static const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	int r = symbol_pool_new(&options, &pool, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = read_one(pool, pids[i], to, err);
		if (n > 1 && (r == -ESRCH || r == -ENOTSUP || r == -EAGAIN)) {
			cli_say("%s; left out", err->message);
			r = 0;
		}
	}
	if (r == 0 && !to->n)
		return error_set(err, ENOTSUP, "none of the processes has memory contexts");
	return r;
}

int contexts_show(const pid_t *pids, size_t n, bool cluster, const struct show *show,
                  struct error *err)
{
	cleanup(clear_all) struct all all = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup_free pid_t *whole = NULL;
	size_t n_whole = 0;
	int r = 0;

	if (cluster)
		r = contexts_cluster(pids[0], &whole, &n_whole, err);
	if (r == 0)
		r = read_all(cluster ? whole : pids, cluster ? n_whole : n, &all, err);
	if (r == 0)
		r = contexts_profile(all.items, all.n, &p, err);
	return r < 0 ? r : show_profile(show, p, err);
}
