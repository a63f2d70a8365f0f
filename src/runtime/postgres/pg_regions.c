/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_regions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/postgres/pg_pools.h"
#include "runtime/postgres/pg_server.h"
#include "runtime/postgres/pg_shared.h"
#include "target/reader.h"

static double mib(uint64_t bytes)
{
	return bytes / 1048576.0;
}

static int add_main(const struct pg_shared *shared, struct regions *to, struct error *err)
{
	struct regions_heap *h;
	uint32_t index;
	int r = regions_add_heap(to, REGIONS_POSTGRES, &h, &index, err);

	if (r < 0)
		return r;
	snprintf(h->name, sizeof(h->name), "shared memory");
	if (shared->buffers_bytes)
		snprintf(h->detail, sizeof(h->detail), "shared buffers %.1f MiB",
		         mib(shared->buffers_bytes));
	else if (shared->n_buffers)
		snprintf(h->detail, sizeof(h->detail), "%" PRIu64 " shared buffers",
		         shared->n_buffers);
	snprintf(h->evidence, sizeof(h->evidence), "BufferBlocks points into it%s",
	         shared->total_bytes ? "; its header has PostgreSQL's magic and fits" : "");
	if (shared->total_bytes) {
		h->in_use_bytes = shared->given_bytes;
		regions_figure(h, "total_bytes", "total", shared->total_bytes);
	} else {
		snprintf(h->unknown_why, sizeof(h->unknown_why),
		         "its header is not present in this process nor in its parent");
	}
	if (shared->buffers_bytes)
		regions_figure(h, "shared_buffers_bytes", "shared buffers", shared->buffers_bytes);
	r = regions_add_range(to, index, shared->main->start, shared->main->end, REGIONS_PROVEN,
	                      err);
	if (r == 0 && shared->interlock)
		r = regions_add_range(to, index, shared->interlock->start, shared->interlock->end,
		                      REGIONS_PROVEN, err);
	return r;
}

/* Segments of parallel queries, of shared statistics (15+): one row for all. */
static int add_dynamic(const struct pg_shared *shared, const struct maps *maps, struct regions *to,
                       struct error *err)
{
	struct regions_heap *h = NULL;
	unsigned n = 0, n_listed = 0;
	uint32_t index, handle;
	int r = 0;

	for (size_t i = 0; i < maps->n_items && r == 0; i++) {
		const struct mapping *m = &maps->items[i];
		bool listed;

		if (!pg_shared_dsm_handle(m, &handle))
			continue;
		if (!h)
			r = regions_add_heap(to, REGIONS_POSTGRES, &h, &index, err);
		listed = m == shared->dsm_list || pg_shared_is_listed(shared, handle);
		if (r == 0)
			r = regions_add_range(to, index, m->start, m->end,
			                      listed ? REGIONS_PROVEN : REGIONS_SHAPE, err);
		n++;
		n_listed += listed;
	}
	if (r < 0 || !h)
		return r;
	snprintf(h->name, sizeof(h->name), "dynamic shared memory");
	snprintf(h->detail, sizeof(h->detail), "%u segment%s", n, n == 1 ? "" : "s");
	snprintf(h->evidence, sizeof(h->evidence),
	         "/dev/shm/PostgreSQL.*; %u of %u in the list of the control segment %" PRIu32,
	         n_listed, n, shared->dsm_control);
	snprintf(h->unknown_why, sizeof(h->unknown_why), "each segment has a layout of its own");
	regions_figure(h, "segments", "segments", n);
	return 0;
}

static void fill_contexts(struct pg_server *s, const struct pg_tree *tree, struct regions_heap *h)
{
	uint64_t blocks = 0, free_bytes = 0;

	for (size_t i = 0; i < tree->n; i++) {
		blocks += tree->items[i].blocks;
		free_bytes += tree->items[i].free;
	}
	h->in_use_bytes = tree->used;
	h->checked = tree->n;
	regions_figure(h, "total_bytes", "total", tree->total);
	regions_figure(h, "free_bytes", "free", free_bytes);
	regions_figure(h, "contexts", "contexts", tree->n);
	regions_figure(h, "blocks", "blocks", blocks);
	snprintf(h->detail, sizeof(h->detail), "%zu contexts, %.1f MiB in their blocks", tree->n,
	         mib(tree->total));
	snprintf(h->evidence, sizeof(h->evidence),
	         "walked from TopMemoryContext: each link, block and free list fits");
	if (pg_pools_are_in_glibc(s))
		snprintf(h->inside, sizeof(h->inside), REGIONS_GLIBC_ARENA);
}

/* A process that has no contexts yet, or a busy one, is no error: the row says so. */
static int add_contexts(struct pg_server *s, struct regions *to, struct error *err)
{
	cleanup(pg_tree_clear) struct pg_tree tree = { 0 };
	struct error why = { 0 };
	struct regions_heap *h;
	int r;

	s->stop = PG_STOP_NEVER; /* whoever wants it stopped has done that already */
	r = pg_server_look(s, &tree, NULL, 0, &why);
	if (r == -ENOMEM || r == -ESRCH) {
		*err = why;
		return r;
	}
	r = regions_add_heap(to, REGIONS_POSTGRES, &h, NULL, err);
	if (r < 0)
		return r;
	snprintf(h->name, sizeof(h->name), "memory contexts");
	if (tree.n)
		fill_contexts(s, &tree, h);
	else
		snprintf(h->unknown_why, sizeof(h->unknown_why), "%.*s", REGIONS_TEXT_BYTES - 1,
		         why.message);
	return 0;
}

int pg_regions_label(const struct runtime_view *v, const struct regions_input *in,
                     struct regions *to, struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	struct pg_shared shared;
	struct error unused;
	int r = pg_server_open(v, &s, &unused);

	if (r < 0) {
		if (r == -ENOMEM)
			*err = unused;
		return r == -ENOMEM ? r : 0; /* not a server */
	}
	pg_shared_find(&s, in->maps, &shared);
	if (shared.main)
		r = add_main(&shared, to, err);
	if (r == 0)
		r = add_dynamic(&shared, in->maps, to, err);
	return r < 0 ? r : add_contexts(&s, to, err);
}
