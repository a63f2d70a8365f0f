/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/bpf_before.h"

#include <stdlib.h>

#include "alloc/before.h"
#include "alloc/follow.h"
#include "base/cleanup.h"
#include "base/clock.h"

enum {
	AGAIN_MS = 1000,
	SHARE = 50, /* of the time, that looks may take */
};

/* The ring of the kernel's events must not fill up while a heap is read. */
static void serve(void *arg)
{
	struct alloc_recorder *r = arg;
	struct error ignored;

	engine_bpf_poll(r->engine, 0, follow_note, r, &ignored);
}

struct summing {
	const struct alloc_recorder *r;
	struct before_held *held; /* by slot */
};

static int add_block(void *arg, u64 key, const struct alloc_entry *e)
{
	struct summing *s = arg;
	const u32 slot = (u32)(key >> ALLOC_SLOT_SHIFT);
	const struct tracee *t = slot < s->r->n_slots ? recorder_tracee(s->r, slot) : NULL;
	struct before_held *h;

	if (!t)
		return 0;
	h = &s->held[slot];
	interval_add_bytes(&h->bytes, (double)e->size, 1);
	h->rounding += (double)before_rounding(t, e->size);
	return 0;
}

static bool is_looked_at(const struct alloc_recorder *r, const struct tracee *t)
{
	return !t->ended && !target_has_ended(t->target) &&
	       engine_bpf_is_active(r->engine, t->slot);
}

void bpf_before_look(struct alloc_recorder *r)
{
	struct summing s = { .r = r };
	cleanup_free struct before_held *held = NULL;
	const u64 begun = clock_now_ns();
	struct error ignored;

	if (!r->options.before)
		return;
	held = s.held = calloc(r->n_slots + 1, sizeof(*s.held));
	if (!held)
		return;
	/* what comes in between is taken for older: the first look is the limit of all */
	if (engine_bpf_table_each(r->engine, add_block, &s, &ignored) < 0)
		return;
	for (size_t i = 0; i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];
		struct before_held *h = &held[t->slot];

		if (!is_looked_at(r, t))
			continue;
		before_read(t, serve, r);
		h->low = h->high = h->bytes.estimate;
		before_take(t, h);
	}
	r->before_looked_ns = clock_now_ns();
	r->before_cost_ns = r->before_looked_ns - begun;
}

void bpf_before_tend(struct alloc_recorder *r, u64 now_ns)
{
	const u64 since = now_ns - r->before_looked_ns;

	if (since > AGAIN_MS * 1000000ull && since > SHARE * r->before_cost_ns)
		bpf_before_look(r);
}

int bpf_before_fill(const struct alloc_recorder *r, const struct alloc_filter *filter,
                    struct profile *p, struct error *err)
{
	const struct alloc_options *o = &r->options;
	int rc = 0;

	if (o->min_size || o->max_size || filter->older_than_ns || filter->peak)
		return 0;
	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		const struct tracee *t = r->tracees[i];

		rc = before_fill(t, t->before.rounding, p, err);
	}
	return rc;
}
