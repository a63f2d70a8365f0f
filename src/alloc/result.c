/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The live table -> groups: what is live, by process, stack, context and
 * thread. result_profile.c makes the profile of them. */

#include <string.h>

#include "alloc/recorder.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"

void result_groups_clear(struct recorder_groups *g)
{
	free(g->items);
	hash_map_clear(&g->index);
	*g = (struct recorder_groups){ 0 };
}

struct grouping {
	struct recorder_groups *groups;
	const struct alloc_options *options;
	u64 now_ns, min_age_ns;
	struct error *err;
	bool weighted;
};

static bool is_wanted(const struct grouping *g, const struct alloc_entry *e)
{
	if (e->size < g->options->min_size)
		return false;
	if (g->options->max_size && e->size > g->options->max_size)
		return false;
	return !g->min_age_ns || e->time_ns + g->min_age_ns <= g->now_ns;
}

static struct recorder_group *find_group(struct recorder_groups *g, u64 hash,
                                         const struct recorder_group *like)
{
	uint64_t *index;

	for (size_t pos = 0; (index = hash_map_next(&g->index, hash, &pos));) {
		struct recorder_group *x = &g->items[*index];

		if (x->slot == like->slot && x->stack == like->stack && x->tid == like->tid &&
		    x->context == like->context)
			return x;
	}
	return NULL;
}

static int add_block(void *arg, u64 key, const struct alloc_entry *e)
{
	struct grouping *g = arg;
	struct recorder_group like = { .slot = key >> ALLOC_SLOT_SHIFT,
		                       .stack = e->stack,
		                       .tid = e->tid,
		                       .context = g->weighted ? 0 : e->context },
			      *group;
	const u64 bytes = g->weighted ? e->context : e->size;
	const u64 objects = g->weighted ? alloc_weight_blocks(e->size, e->context) : 1;
	u64 hash = hash_u64(like.context ^ hash_u64((u64)like.slot << 32 | like.stack) ^
	                    (u64)like.tid << 20);
	int r;

	if (!is_wanted(g, e))
		return 0;
	group = find_group(g->groups, hash, &like);
	if (!group) {
		r = array_reserve(&g->groups->items, &g->groups->cap_items, g->groups->n_items + 1,
		                  g->err);
		if (r < 0)
			return r;
		r = hash_map_add(&g->groups->index, hash, g->groups->n_items, g->err);
		if (r < 0)
			return r;
		group = &g->groups->items[g->groups->n_items++];
		*group = like;
	}
	if (g->weighted) {
		const double weight = e->size ? (double)bytes / (double)e->size : 1;

		interval_add_blocks(&group->estimated_objects, weight);
		interval_add_bytes(&group->estimated_bytes, (double)e->size, weight);
		interval_add_bytes(&g->groups->estimated_bytes, (double)e->size, weight);
	}
	group->objects += objects;
	group->bytes += bytes;
	group->birth_sum_ms += e->time_ns / 1000000 * objects;
	g->groups->bytes += bytes;
	return 0;
}

int result_groups(struct alloc_recorder *r, u64 min_age_ns, struct recorder_groups *ret,
                  struct error *err)
{
	cleanup(result_groups_clear) struct recorder_groups groups = { 0 };
	struct grouping g = {
		.groups = &groups,
		.options = &r->options,
		.now_ns = r->detached ? r->ended_ns : clock_now_ns(),
		.min_age_ns = min_age_ns,
		.err = err,
		.weighted = r->weighted,
	};
	int rc = engine_bpf_table_each(r->engine, add_block, &g, err);

	if (rc < 0)
		return rc;
	groups.taken_ns = g.now_ns;
	*ret = groups;
	groups = (struct recorder_groups){ 0 };
	return 0;
}
