/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/contexts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/regions.h"
#include "target/maps.h"

void contexts_process_clear(struct contexts_process *p)
{
	runtime_pools_clear(&p->pools);
	*p = (struct contexts_process){ 0 };
}

/* What the process has run for, and whether it runs: as a text to compare. NULL: not known. */
static char *run_state(const struct target *t)
{
	struct error unused;
	char *text;

	return target_proc_file(t, "schedstat", 4096, &text, NULL, &unused) < 0 ? NULL : text;
}

static bool has_rested(const struct target *t, const char *before)
{
	cleanup_free char *now = run_state(t);

	return before && now && strcmp(before, now) == 0;
}

/* In use by glibc's malloc; -1 where its figures are not there or contradict each other. */
static int64_t malloc_bytes(const struct runtime_view *v)
{
	const struct runtime_ops *glibc = registry_find("glibc");
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(regions_clear) struct regions found = { 0 };
	const struct threads none = { 0 };
	const struct regions_input in = { .maps = &maps, .threads = &none };
	struct error unused;
	int64_t sum = 0;

	if (!glibc->label_regions || maps_read(v->target, &maps, &unused) < 0 ||
	    glibc->label_regions(v, &in, &found, &unused) < 0 || !found.n_heaps)
		return -1;
	for (size_t i = 0; i < found.n_heaps; i++) {
		const struct regions_heap *h = &found.heaps[i];

		if (h->in_use_bytes < 0 || h->inconsistent)
			return -1;
		sum += h->in_use_bytes - (h->cached_bytes > 0 ? h->cached_bytes : 0);
	}
	return sum;
}

static void look_outside(const struct runtime_view *v, const char *before,
                         struct contexts_process *p)
{
	int64_t inside = 0, all;

	if (!p->pools.inside || strcmp(p->pools.inside, REGIONS_GLIBC_ARENA) != 0)
		return;
	all = malloc_bytes(v);
	if (all < 0 || !has_rested(v->target, before))
		return;
	for (size_t i = 0; i < p->pools.n; i++)
		inside += p->pools.items[i].total_bytes;
	if (p->pools.parked_bytes > 0)
		inside += p->pools.parked_bytes;
	if (inside > all)
		return;
	p->malloc_bytes = all;
	p->outside_bytes = all - inside;
}

static const struct runtime_ops *runtime_with_pools(const struct runtime_view *v)
{
	struct error unused;

	for (size_t i = 0; registry_runtimes[i]; i++)
		if (registry_runtimes[i]->pools && registry_runtimes[i]->detect(v, &unused) > 0)
			return registry_runtimes[i];
	return NULL;
}

int contexts_read(const struct target *t, struct symbol_space *space, struct contexts_process *ret,
                  struct error *err)
{
	const struct runtime_view v = { t, space };
	const struct runtime_ops *ops = runtime_with_pools(&v);
	cleanup_free char *before = NULL;
	struct contexts_process p = {
		.pid = t->pid, .ns_pid = t->ns_pid, .malloc_bytes = -1, .outside_bytes = -1
	};
	int r;

	if (!ops) {
		error_set(err, ENOTSUP, "process %d (%s) has no memory contexts", t->pid, t->comm);
		return error_hint(err, "memory contexts are PostgreSQL's");
	}
	before = run_state(t);
	r = ops->pools(&v, &p.pools, err);
	if (r < 0)
		return r;
	memcpy(p.comm, t->comm, sizeof(p.comm));
	if (!ops->process_kind || !ops->process_kind(&v, p.kind, sizeof(p.kind)))
		p.kind[0] = '\0';
	p.leader = p.pools.leader;
	look_outside(&v, before, &p);
	*ret = p;
	return 0;
}

static bool runs_the_same(const struct target *t, pid_t pid)
{
	cleanup(target_closep) struct target *other = NULL;
	struct error unused;

	return pid > 1 && target_open(pid, &other, &unused) == 0 && t->exe[0] &&
	       !strcmp(t->exe, other->exe);
}

int contexts_cluster(pid_t pid, pid_t **ret, size_t *ret_n, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup_free pid_t *all = NULL;
	size_t n_all, n = 0;
	int r = target_open(pid, &t, err);
	pid_t first, *grown;

	if (r < 0)
		return r;
	first = runs_the_same(t, t->parent) ? t->parent : t->pid;
	r = target_descendants(first, &all, &n_all, err);
	if (r < 0)
		return r;
	grown = realloc(all, (n_all + 1) * sizeof(*all));
	if (!grown)
		return error_oom(err);
	all = grown;
	memmove(all + 1, all, n_all * sizeof(*all));
	all[0] = first;
	for (size_t i = 0; i <= n_all; i++)
		if (all[i] == pid || runs_the_same(t, all[i]))
			all[n++] = all[i];
	*ret_n = n;
	*ret = take_ptr(all);
	return 0;
}
