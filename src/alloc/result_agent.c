/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_agent.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/agent_before.h"
#include "alloc/agent_samples.h"
#include "alloc/recorder_agent.h"
#include "alloc/result_agent_report.h"
#include "alloc/result_labels.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "profile/interval.h"
#include "unwind/stack_frames.h"

/* The four of every heap profile, ages, and what intervals are made of. */
enum {
	RESULT_AGE = PROFILE_HEAP_TYPES,
	RESULT_INTERVAL,
	RESULT_TYPES = RESULT_INTERVAL + INTERVAL_TYPES,
};

static bool is_wanted(const struct alloc_options *o, const struct alloc_filter *f, u64 now_ns,
                      const struct engine_agent_block *b)
{
	return b->size >= o->min_size && (!o->max_size || b->size <= o->max_size) &&
	       (!f->older_than_ns || b->birth_ns + f->older_than_ns <= now_ns);
}

static void add_to(struct result_agent_held *h, const struct engine_agent *e,
                   const struct engine_agent_block *b, u64 now_ns)
{
	const double weight = agent_samples_weight(e, b->asked, b->seq);

	interval_add_blocks(&h->objects, weight);
	interval_add_bytes(&h->bytes, (double)b->size, weight);
	h->age_ns += weight * (double)(now_ns > b->birth_ns ? now_ns - b->birth_ns : 0);
}

/* ---- the profile ---- */

struct filling {
	struct tracee *t;
	struct engine_agent *e; /* its */
	struct profile *p;
	struct stack_frames frames;
	struct result_labels labels;
};

/* Blocks of one stack in one context. */
struct group {
	u32 stack;
	u64 context;
	struct result_agent_held held;
};

static const char *why_cut(struct filling *f, u32 id)
{
	const struct agent_stack *s = agent_stacks_at(f->e->stacks, id);
	const struct code_history *h = tracee_history(f->t);

	if (stack_frames_are_complete(h, agent_stacks_pcs(f->e->stacks, id), s->n, s->stop))
		return NULL;
	if (s->stop == UNWIND_STOP_BAD_STACK)
		return f->e->exact ? "[how far the stack reaches was not known]"
		                   : "[stack not copied from here]";
	if (s->stop == UNWIND_STOP_TRAMPOLINE)
		return "[behind another tool's return probe]";
	return s->stop == UNWIND_STOP_DEEP ? "[deeper than 512 frames]"
	                                   : "[no unwind table from here]";
}

static int frames_of(struct filling *f, u32 id, u32 *ids, struct error *err)
{
	const struct agent_stacks *stacks = f->e->stacks;
	int r;

	if (id)
		return stack_frames_of_pcs(&f->frames, tracee_history(f->t), f->t->slot,
		                           agent_stacks_pcs(stacks, id),
		                           agent_stacks_at((struct agent_stacks *)stacks, id)->n,
		                           why_cut(f, id), ids, err);
	r = profile_frame_named(f->p, "[stack not stored: too many at once]", &ids[0], err);
	return r < 0 ? r : 1;
}

static int add_sample(struct filling *f, u32 stack, u64 context, const struct interval_sum *objects,
                      const struct interval_sum *bytes, const struct result_agent_held *h,
                      struct error *err)
{
	const struct tracee *t = f->t;
	int64_t values[RESULT_TYPES] = { 0 };
	u32 ids[PROFILE_MAX_FRAMES];
	int n = frames_of(f, stack, ids, err);
	int r = n < 0 ? n : result_labels_process(&f->labels, f->p, t, err);

	if (r == 0)
		r = result_labels_context(&f->labels, f->p, t, context, err);
	if (r < 0)
		return r;
	values[PROFILE_ALLOC_OBJECTS] = llround(objects->estimate);
	values[PROFILE_ALLOC_SPACE] = llround(bytes->estimate);
	values[PROFILE_INUSE_OBJECTS] = llround(h->objects.estimate);
	values[PROFILE_INUSE_SPACE] = llround(h->bytes.estimate);
	values[RESULT_AGE] = llround(h->age_ns);
	interval_values(objects, bytes, &h->objects, &h->bytes, &values[RESULT_INTERVAL]);
	return profile_add(f->p, ids, n, f->labels.items, f->labels.n, values, err);
}

static double above(double all, double part)
{
	return all > part ? all - part : 0;
}

/* Samples of which all but @part are in @all. */
static struct interval_sum without(const struct interval_sum *all, const struct interval_sum *part)
{
	return (struct interval_sum){
		.estimate = above(all->estimate, part->estimate),
		.seen = above(all->seen, part->seen),
		.variance = above(all->variance, part->variance),
		.samples = above(all->samples, part->samples),
	};
}

/* What is gone again belongs to no context any more; a stack without contexts has one row. */
static int add_stack(struct filling *f, u32 id, const struct group *groups, size_t n,
                     struct error *err)
{
	const struct agent_stack *s = agent_stacks_at(f->e->stacks, id);
	const struct result_agent_held none = { 0 },
				       *plain = n && !groups[0].context ? &groups[0].held : &none;
	struct interval_sum objects = s->objects, bytes = s->bytes;
	int r = 0;

	for (size_t i = plain != &none; i < n && r == 0; i++) {
		const struct result_agent_held *h = &groups[i].held;

		r = add_sample(f, id, groups[i].context, &h->objects, &h->bytes, h, err);
		objects = without(&objects, &h->objects);
		bytes = without(&bytes, &h->bytes);
	}
	/* of stacks that were lost only what still lives is known */
	if (objects.estimate < plain->objects.estimate || bytes.estimate < plain->bytes.estimate) {
		objects = plain->objects;
		bytes = plain->bytes;
	}
	if (r < 0 || llround(objects.estimate) < 1)
		return r;
	return add_sample(f, id, 0, &objects, &bytes, plain, err);
}

/* It has no size and no age: a filter of these leaves it out. */
static int add_before(struct alloc_recorder *r, const struct tracee *t, double rounding,
                      const struct alloc_filter *filter, struct profile *p, struct error *err)
{
	const struct alloc_options *o = &r->options;

	if (o->min_size || o->max_size || filter->older_than_ns || filter->peak)
		return 0;
	return before_fill(t, rounding, p, err);
}

/* @groups in the order of their stacks, then contexts. */
static int fill(struct tracee *t, const struct group *groups, size_t n, struct profile *p,
                struct error *err)
{
	struct filling f = { .t = t, .e = t->agent, .p = p };
	const size_t n_stacks = agent_stacks_n(t->agent->stacks);
	size_t from = 0, to = 0;
	int rc = 0;

	f.frames.profile = p;
	for (u32 id = 0; rc == 0 && id < n_stacks; id++, from = to) {
		while (to < n && groups[to].stack == id)
			to++;
		rc = add_stack(&f, id, groups + from, to - from, err);
	}
	stack_frames_clear(&f.frames);
	return rc;
}

/* ---- groups ---- */

static int compare_blocks(const void *a, const void *b)
{
	const struct engine_agent_block *x = a, *y = b;

	if (x->stack != y->stack)
		return x->stack < y->stack ? -1 : 1;
	return x->context < y->context ? -1 : x->context > y->context;
}

/* Sorts the blocks; @groups has room for as many. Returns how many groups there are. */
static size_t make_groups(const struct alloc_recorder *r, const struct tracee *t,
                          const struct alloc_filter *filter, struct group *groups,
                          struct result_agent_held *all)
{
	const struct engine_agent *e = t->agent;
	size_t n = 0;

	if (e->n_blocks)
		qsort(e->blocks, e->n_blocks, sizeof(*e->blocks), compare_blocks);
	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct engine_agent_block *b = &e->blocks[i];

		if (!is_wanted(&r->options, filter, e->looked_ns, b))
			continue;
		if (!n || groups[n - 1].stack != b->stack || groups[n - 1].context != b->context)
			groups[n++] = (struct group){ .stack = b->stack, .context = b->context };
		add_to(&groups[n - 1].held, e, b, e->looked_ns);
		add_to(all, e, b, e->looked_ns);
		all->rounding += agent_samples_weight(e, b->size, b->seq) *
		                 (double)before_rounding(t, b->size);
	}
	return n;
}

int result_agent_learn(struct tracee *t, struct error *err)
{
	struct engine_agent *e = t->agent;
	cleanup_free u64 *contexts = calloc(e->n_blocks + 1, sizeof(*contexts));
	size_t n = 0;

	if (!contexts)
		return error_oom(err);
	for (size_t i = 0; i < e->n_blocks; i++) {
		if (e->blocks[i].context && (!n || contexts[n - 1] != e->blocks[i].context))
			contexts[n++] = e->blocks[i].context;
	}
	return n ? tracee_names_of_contexts(t, contexts, n, err) : 0;
}

/* ---- both ---- */

static int new_profile(bool exact, struct profile **ret, struct error *err)
{
	struct profile_type types[RESULT_TYPES];

	memcpy(types, profile_heap_types, sizeof(profile_heap_types));
	types[RESULT_AGE] = (struct profile_type){ "inuse_age", "nanoseconds" };
	memcpy(&types[RESULT_INTERVAL], interval_profile_types, sizeof(interval_profile_types));
	/* what is exact has no interval */
	return profile_new(ret, types, exact ? RESULT_INTERVAL : RESULT_TYPES, PROFILE_INUSE_SPACE,
	                   err);
}

/* It ended meanwhile: what was seen last is the result. */
static int look(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	struct error why;
	int rc = t->agent->attached ? agent_samples_look(t->agent, err) : 0;

	if (t->agent->attached && rc == 0)
		agent_before_look(r, t);
	if (rc < 0 && rc != -ESRCH && r->n_tracees == 1)
		return rc;
	if (result_agent_learn(t, &why) < 0)
		log_note(LOG_DEBUG, "%s", why.message);
	return 0;
}

/* Its stacks into the profile; what it holds is added to @all. */
static int add_process(struct alloc_recorder *r, struct tracee *t,
                       const struct alloc_filter *filter, struct profile *p,
                       struct result_agent_held *all, struct error *err)
{
	struct result_agent_held own = { 0 };
	cleanup_free struct group *groups = calloc(t->agent->n_blocks + 1, sizeof(*groups));
	size_t n;
	int rc;

	if (!groups)
		return error_oom(err);
	n = make_groups(r, t, filter, groups, &own);
	rc = fill(t, groups, n, p, err);
	if (rc == 0)
		rc = add_before(r, t, own.rounding, filter, p, err);
	interval_add(&all->objects, &own.objects);
	interval_add(&all->bytes, &own.bytes);
	return rc;
}

/* As it is now, or was when most was held. */
static int add_process_then(struct alloc_recorder *r, struct tracee *t,
                            const struct alloc_filter *filter, struct profile *p,
                            struct result_agent_held *all, struct error *err)
{
	const bool then = filter->peak && r->peak.taken_ns;
	int rc;

	/* one that came later held nothing then */
	if (then)
		engine_agent_swap_peak(t->agent);
	rc = add_process(r, t, filter, p, all, err);
	if (then)
		engine_agent_swap_peak(t->agent);
	return rc;
}

int result_agent_make(struct alloc_recorder *r, enum alloc_ended ended,
                      const struct alloc_filter *filter, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct result_agent_held all = { 0 };
	int rc;

	if (ended != ALLOC_RUNNING)
		alloc_detach(r);
	rc = new_profile(r->options.exact, &p, err);
	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		if (!r->tracees[i]->agent)
			continue;
		rc = look(r, r->tracees[i], err);
		if (rc == 0)
			rc = add_process_then(r, r->tracees[i], filter, p, &all, err);
		/* the others wait for it */
		recorder_agent_serve(r);
	}
	if (rc == 0)
		rc = result_agent_report_fill(r, &all, ended, filter, profile_report(p), err);
	if (rc < 0)
		return rc;
	profile_set_time(p, r->begun_unix_ns, (int64_t)result_agent_report_looked_ns(r));
	*ret = take_ptr(p);
	return 0;
}
