/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/before.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "alloc/result_labels.h"
#include "alloc/tracee.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "target/maps.h"
#include "target/threads.h"

enum {
	AGAIN_MS = 1000,
	SHARE = 50, /* of the time, that looks may take */
	NAP_NS = 500000,
};

/* ---- the allocators' own figure ---- */

struct reading {
	const struct runtime_view *view;
	const struct regions_input *in;
	struct before *to;
	uint64_t live;
	const struct runtime_ops *used; /* the last that has a heap */
	size_t n_used;
};

static int unknown(struct before *b, const char *title, const char *why)
{
	snprintf(b->why, sizeof(b->why), "%s: %s", title, why);
	return -1;
}

/* One that has no heap, beside another one that has, was never used: a preloaded
 * allocator's libc. */
static int add_heaps(struct reading *r, const struct runtime_ops *ops, const struct regions *found)
{
	for (size_t i = 0; i < found->n_heaps; i++) {
		const struct regions_heap *h = &found->heaps[i];

		if (h->in_use_bytes < 0)
			return unknown(r->to, ops->title, h->unknown_why);
		r->live += (uint64_t)h->in_use_bytes;
		if (h->cached_bytes > 0 && h->cached_bytes <= h->in_use_bytes)
			r->live -= (uint64_t)h->cached_bytes;
		r->to->inconsistent += h->inconsistent;
	}
	if (found->n_heaps) {
		r->n_used++;
		r->used = ops;
	}
	return 0;
}

static int read_runtime(struct reading *r, const struct runtime_ops *ops)
{
	cleanup(regions_clear) struct regions found = { 0 };
	struct error why = { 0 };
	uint64_t used = 0;

	if (ops->used_bytes && ops->has_contexts) {
		if (ops->used_bytes(r->view, &used, &why) < 0)
			return unknown(r->to, ops->title, why.message);
		r->live += used;
		r->n_used++;
		r->used = ops;
		return 0;
	}
	if (!ops->label_regions)
		return unknown(r->to, ops->title, "what it holds cannot be read from outside");
	if (ops->label_regions(r->view, r->in, &found, &why) < 0)
		return unknown(r->to, ops->title, why.message);
	return add_heaps(r, ops, &found);
}

/* Contexts lie in blocks of another allocator: both together would count those twice. */
static bool are_nested(const struct tracee *t)
{
	return tracee_has_contexts(t) && t->n_runtimes > 1;
}

/* @own: the target of @t, opened once more. Nothing else of @t that is used here changes. */
static int read_live(struct tracee *t, const struct target *own, uint64_t *ret)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(threads_clear) struct threads threads = { 0 };
	const struct runtime_view view = { own, t->space };
	const struct regions_input in = { .maps = &maps, .threads = &threads };
	struct reading r = { .view = &view, .in = &in, .to = &t->before };
	struct error why = { 0 };

	t->before.inconsistent = 0;
	if (are_nested(t))
		return unknown(&t->before, t->runtimes[0]->title,
		               "its contexts lie in the blocks of another allocator");
	if (maps_read(own, &maps, &why) < 0 || threads_read(own, &maps, &threads, &why) < 0)
		return unknown(&t->before, "the process", why.message);
	for (size_t i = 0; i < t->n_runtimes; i++) {
		if (read_runtime(&r, t->runtimes[i]) < 0)
			return -1;
	}
	if (!r.n_used)
		return unknown(&t->before, t->n_runtimes ? t->runtimes[0]->title : "no allocator",
		               "its structures were not found");
	t->before.only = r.n_used == 1 ? r.used : NULL;
	*ret = r.live;
	return 0;
}

/* ---- looking ---- */

bool before_is_due(const struct before *b, uint64_t now_ns)
{
	const uint64_t since = now_ns - b->looked_ns;

	return !b->is_looked || (since > AGAIN_MS * 1000000ull && since > SHARE * b->cost_ns);
}

static double within(double v, double low, double high)
{
	return v < low ? low : v > high ? high : v;
}

/* Beside the engine, which has to serve the target meanwhile. */
struct aside {
	struct tracee *t;
	struct target *own;
	int result;
	uint64_t live;
	atomic_bool is_done;
};

static void *read_aside(void *arg)
{
	struct aside *a = arg;

	a->result = read_live(a->t, a->own, &a->live);
	atomic_store(&a->is_done, true);
	return NULL;
}

static void wait_for(struct aside *a, void (*meanwhile)(void *arg), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, read_aside, a) != 0) {
		read_aside(a);
		return;
	}
	while (!atomic_load(&a->is_done)) {
		nanosleep(&(struct timespec){ 0, NAP_NS }, NULL);
		meanwhile(arg);
	}
	pthread_join(thread, NULL);
}

void before_read(struct tracee *t, void (*meanwhile)(void *arg), void *arg)
{
	cleanup(target_closep) struct target *own = NULL;
	struct aside a = { .t = t, .result = -1 };
	struct before *b = &t->before;
	const uint64_t start = clock_now_ns();
	struct error why;

	if (target_open(t->pid, &own, &why) < 0) {
		unknown(b, "the process", why.message);
	} else {
		own->moved = t->target->moved;
		a.own = own;
		wait_for(&a, meanwhile, arg);
	}
	b->looked_ns = clock_now_ns();
	b->cost_ns = b->looked_ns - start;
	/* of one that ended meanwhile the last look is what is known */
	b->is_fresh = a.result == 0;
	if (b->is_fresh)
		b->live = a.live;
	else if (!target_has_ended(t->target))
		b->is_known = false;
}

void before_take(struct tracee *t, const struct before_held *held)
{
	struct before *b = &t->before;
	const double rest = (double)b->live - held->bytes.estimate - held->rounding;

	b->is_looked = true;
	if (!b->is_fresh)
		return;
	/* not the first look, if that could not read it */
	if (!b->has_first)
		b->at_first = fmax(rest, 0) + (held->high - held->bytes.estimate);
	b->has_first = b->is_known = true;
	b->held = held->bytes;
	b->rounding = held->rounding;
	b->bytes = within(rest, 0, b->at_first);
	b->unsampled = fmax(rest - b->bytes, 0);
	b->low = within(rest - (held->high - held->bytes.estimate), 0, b->bytes);
	b->high = within(rest + (held->bytes.estimate - held->low), b->bytes,
	                 fmax(b->at_first, b->bytes));
}

uint64_t before_rounding(const struct tracee *t, uint64_t size)
{
	const struct runtime_ops *ops = t->before.only;

	return ops && ops->block_bytes && size < 1ull << 46 ? ops->block_bytes(size) - size : 0;
}

/* ---- the result ---- */

static bool knows_rounding(const struct tracee *t)
{
	const struct runtime_ops *ops = t->before.only;

	return ops && (ops->block_bytes || ops->has_contexts);
}

static int add_row(struct profile *p, const char *name, const struct result_labels *labels,
                   const struct interval_sum *bytes, struct error *err)
{
	const int at = profile_find_type(p, interval_profile_types[0].name);
	const struct interval_sum none = { 0 };
	int64_t values[PROFILE_MAX_TYPES] = { 0 };
	uint32_t id;
	int r;

	if (bytes->estimate < 1)
		return 0;
	values[PROFILE_INUSE_SPACE] = llround(bytes->estimate);
	if (at >= 0)
		interval_values(&none, &none, &none, bytes, &values[at]);
	r = profile_frame_named(p, name, &id, err);
	return r < 0 ? r : profile_add(p, &id, 1, labels->items, labels->n, values, err);
}

int before_fill(const struct tracee *t, double rounding, struct profile *p, struct error *err)
{
	const char *name = knows_rounding(t) ? "[before attach]" : "[before attach, and rounding]";
	const struct before *b = &t->before;
	/* unsure is of it only what is unsure of the younger ones, which were taken off */
	const double unsure = fmin(b->held.estimate - b->held.seen, b->bytes);
	const struct interval_sum older = { b->bytes, b->bytes - unsure, b->held.variance,
		                            b->held.samples };
	/* it is there for sure: the older ones are not more */
	const struct interval_sum rest = { b->unsampled, b->unsampled, 0, 0 };
	const struct interval_sum around = { rounding, rounding, 0, 0 };
	struct result_labels labels;
	int r;

	if (!b->is_known)
		return 0;
	r = result_labels_process(&labels, p, t, err);
	if (r == 0)
		r = add_row(p, name, &labels, &older, err);
	if (r == 0)
		r = add_row(p, "[since the attach, in no sample]", &labels, &rest, err);
	return r < 0 ? r : add_row(p, "[headers and rounding of these]", &labels, &around, err);
}

static int report_sums(const struct before *b, struct report *to, struct error *err)
{
	const char *broken = "contradictions in the allocator's own structures";
	int r = report_int(to, "allocator_bytes", "the allocator holds", (int64_t)b->live, "bytes",
	                   err);

	if (r == 0)
		r = report_int(to, "before_attach_bytes", NULL, llround(b->bytes), "bytes", err);
	if (r == 0)
		r = report_int(to, "before_attach_bytes_low", NULL, llround(b->low), "bytes", err);
	if (r == 0)
		r = report_int(to, "before_attach_bytes_high", NULL, llround(b->high), "bytes",
		               err);
	if (r == 0)
		r = report_int(to, "allocator_inconsistent", b->inconsistent ? broken : NULL,
		               (int64_t)b->inconsistent, "", err);
	return r == 0 ? report_double(to, "before_attach_look_seconds", NULL,
	                              (double)b->cost_ns / 1e9, "s", err)
	              : r;
}

static void add(struct before *to, const struct before *b)
{
	to->live += b->live;
	to->bytes += b->bytes;
	to->low += b->low;
	to->high += b->high;
	to->inconsistent += b->inconsistent;
	to->cost_ns += b->cost_ns;
}

int before_report(struct tracee *const *tracees, size_t n, struct report *to, struct error *err)
{
	struct before sum = { 0 };
	size_t looked = 0;
	char why[320];

	for (size_t i = 0; i < n; i++) {
		const struct before *b = &tracees[i]->before;

		if (!b->is_looked)
			continue;
		looked++;
		add(&sum, b);
		if (b->is_known)
			continue;
		snprintf(why, sizeof(why), "%s", b->why);
		if (n > 1)
			snprintf(why, sizeof(why), "process %d: %s", tracees[i]->pid, b->why);
		return report_text(to, "before_attach_unknown", "held before the attach: not known",
		                   why, err);
	}
	return looked ? report_sums(&sum, to, err) : 0;
}
