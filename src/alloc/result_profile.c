/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_profile.h"

#include <errno.h>
#include <string.h>

#include "alloc/bpf_before.h"
#include "alloc/result_labels.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "unwind/stack_frames.h"

/* The four of every heap profile, and the ages (for the mean: ns x objects). Of estimates,
 * what their intervals are made of: of what is held; how the rest was drawn is not kept. */
enum {
	RESULT_AGE = PROFILE_HEAP_TYPES,
	RESULT_INTERVAL,
	INTERVAL_OF_HELD = INTERVAL_TYPES / 2, /* the second half of them */
	RESULT_TYPES = RESULT_INTERVAL + INTERVAL_TYPES - INTERVAL_OF_HELD,
};

/* What of a stack's allocations is accounted for by live groups. */
struct live_of_stack {
	u64 objects, bytes;
};

struct filling {
	struct alloc_recorder *r;
	struct profile *p;
	struct stack_frames frames;
	struct live_of_stack *live; /* by stack id */
	u64 now_ms;
	struct result_labels labels;
};

static int add_sample(struct filling *f, struct tracee *t, u32 stack, const int64_t *values,
                      struct error *err)
{
	u32 ids[PROFILE_MAX_FRAMES];
	int n = stack_frames_of(&f->frames, tracee_history(t), t->slot, stack, ids, err);

	if (n < 0)
		return n;
	return profile_add(f->p, ids, n, f->labels.items, f->labels.n, values, err);
}

static int add_group(struct filling *f, const struct recorder_group *g, struct error *err)
{
	struct tracee *t = recorder_tracee(f->r, g->slot);
	int64_t values[RESULT_TYPES] = { g->objects, g->bytes, g->objects, g->bytes };
	int64_t sums[INTERVAL_TYPES];
	char buf[32];
	int r;

	if (!t)
		return error_set(err, EPROTO, "a block of an unknown process");
	values[RESULT_AGE] = (int64_t)(f->now_ms * g->objects - g->birth_sum_ms) * 1000000;
	interval_values(&g->estimated_objects, &g->estimated_bytes, &g->estimated_objects,
	                &g->estimated_bytes, sums);
	memcpy(&values[RESULT_INTERVAL], &sums[INTERVAL_OF_HELD],
	       sizeof(sums) - INTERVAL_OF_HELD * sizeof(*sums));
	r = result_labels_process(&f->labels, f->p, t, err);
	if (r == 0)
		r = result_labels_text(&f->labels, f->p, "thread",
		                       thread_names_get(&t->threads, g->tid, buf), err);
	if (r == 0)
		r = result_labels_context(&f->labels, f->p, t, g->context, err);
	if (r < 0)
		return r;
	f->live[g->stack].objects += g->objects;
	f->live[g->stack].bytes += g->bytes;
	return add_sample(f, t, g->stack, values, err);
}

/* What a stack allocated and freed again. */
static int add_churn(struct filling *f, u32 id, struct error *err)
{
	const struct stack_record *s = bpf_tables_stack(engine_bpf_tables(f->r->engine), id);
	int64_t values[RESULT_TYPES] = { 0 };
	struct tracee *t;
	int r;

	if (!s || s->alloc_objects <= f->live[id].objects)
		return 0;
	t = recorder_tracee(f->r, s->slot);
	if (!t)
		return 0; /* the calibration's */
	values[PROFILE_ALLOC_OBJECTS] = s->alloc_objects - f->live[id].objects;
	if (s->alloc_bytes > f->live[id].bytes)
		values[PROFILE_ALLOC_SPACE] = s->alloc_bytes - f->live[id].bytes;
	r = result_labels_process(&f->labels, f->p, t, err);
	return r < 0 ? r : add_sample(f, t, id, values, err);
}

static int compare_u64(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Names of all contexts of one process that hold something. */
static int name_contexts_of(struct tracee *t, const struct recorder_groups *groups,
                            struct error *err)
{
	cleanup_free u64 *addresses = calloc(groups->n_items + 1, sizeof(*addresses));
	size_t n = 0, distinct = 0;

	if (!addresses)
		return error_oom(err);
	for (size_t i = 0; i < groups->n_items; i++) {
		if (groups->items[i].slot == t->slot && groups->items[i].context)
			addresses[n++] = groups->items[i].context;
	}
	qsort(addresses, n, sizeof(*addresses), compare_u64);
	for (size_t i = 0; i < n; i++) {
		if (!distinct || addresses[i] != addresses[distinct - 1])
			addresses[distinct++] = addresses[i];
	}
	return tracee_names_of_contexts(t, addresses, distinct, err);
}

int result_profile_name_contexts(struct alloc_recorder *r, const struct recorder_groups *groups,
                                 struct error *err)
{
	for (size_t i = 0; i < r->n_tracees; i++) {
		struct error why;

		/* a name that cannot be read now is shown as an address */
		if (tracee_has_contexts(r->tracees[i]) &&
		    name_contexts_of(r->tracees[i], groups, &why) == -ENOMEM)
			return error_oom(err);
	}
	return 0;
}

static int fill(struct filling *f, const struct recorder_groups *groups, struct error *err)
{
	size_t n = bpf_tables_n_stacks(engine_bpf_tables(f->r->engine));
	int r = result_profile_name_contexts(f->r, groups, err);

	for (size_t i = 0; r == 0 && i < groups->n_items; i++)
		r = add_group(f, &groups->items[i], err);
	for (u32 id = 1; r == 0 && id < n; id++)
		r = add_churn(f, id, err);
	return r;
}

int result_profile_fill(struct alloc_recorder *r, const struct recorder_groups *groups,
                        struct profile *p, struct error *err)
{
	size_t n = bpf_tables_n_stacks(engine_bpf_tables(r->engine)) + 1;
	struct filling f = { .r = r, .p = p, .now_ms = groups->taken_ns / 1000000 };
	int rc;

	f.frames.tables = engine_bpf_tables(r->engine);
	f.frames.no_stack = r->options.no_stacks ? "[stacks off]"
	                                         : "[stack not stored: table full]";
	f.frames.profile = p;
	f.live = calloc(n + 1, sizeof(*f.live));
	if (!f.live)
		return error_oom(err);
	rc = fill(&f, groups, err);
	stack_frames_clear(&f.frames);
	free(f.live);
	return rc;
}

/* ---- the whole result ---- */

static int new_profile(bool weighted, struct profile **ret, struct error *err)
{
	struct profile_type types[RESULT_TYPES];

	memcpy(types, profile_heap_types, sizeof(profile_heap_types));
	types[RESULT_AGE] = (struct profile_type){ "inuse_age", "nanoseconds" };
	memcpy(&types[RESULT_INTERVAL], &interval_profile_types[INTERVAL_OF_HELD],
	       (RESULT_TYPES - RESULT_INTERVAL) * sizeof(*types));
	return profile_new(ret, types, weighted ? RESULT_TYPES : RESULT_INTERVAL,
	                   PROFILE_INUSE_SPACE, err);
}

static int make(struct alloc_recorder *r, const struct recorder_groups *groups,
                enum alloc_ended ended, const struct alloc_filter *filter, struct profile **ret,
                struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int rc = new_profile(r->weighted, &p, err);

	if (rc == 0)
		rc = result_profile_fill(r, groups, p, err);
	if (rc == 0)
		rc = bpf_before_fill(r, filter, p, err);
	if (rc == 0)
		rc = result_report_fill(r, groups, ended, filter, profile_report(p), err);
	if (rc < 0)
		return rc;
	profile_set_time(p, r->begun_unix_ns, (int64_t)(groups->taken_ns - r->begun_ns));
	*ret = take_ptr(p);
	return 0;
}

int result_profile_make(struct alloc_recorder *r, enum alloc_ended ended,
                        const struct alloc_filter *filter, struct profile **ret, struct error *err)
{
	cleanup(result_groups_clear) struct recorder_groups groups = { 0 };
	int rc;

	if (ended != ALLOC_RUNNING)
		alloc_detach(r);
	else
		bpf_before_look(r);
	if (filter->peak && r->peak.taken_ns)
		return make(r, &r->peak, ended, filter, ret, err);
	rc = result_groups(r, filter->older_than_ns, &groups, err);
	return rc < 0 ? rc : make(r, &groups, ended, filter, ret, err);
}
