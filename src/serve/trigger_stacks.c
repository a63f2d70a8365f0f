/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/trigger_stacks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/search.h"

/* By id. The lowest of this half of the window and of the one before. */
struct trigger_stacks_entry {
	uint64_t id, half;
	int64_t low[2];
	int64_t mark_bytes; /* where a capture of it was due; -1: never */
	bool seen;
};

void trigger_stacks_clear(struct trigger_stacks *t)
{
	free(t->entries);
	t->entries = NULL;
	t->n = t->cap = 0;
}

static size_t place_of(const struct trigger_stacks *t, uint64_t id)
{
	return partition_point(t->n, i, t->entries[i].id < id);
}

/* NULL with *r = 0: too many. */
static struct trigger_stacks_entry *add(struct trigger_stacks *t, size_t at, uint64_t half,
                                        const struct trigger_stack *s, int *r, struct error *err)
{
	int64_t sixteenth = (int64_t)t->trigger->rule.bytes / 16;
	int64_t before = t->trigger->is_warm && s->held_bytes > sixteenth ? sixteenth
	                                                                  : s->held_bytes;

	if (t->n >= TRIGGER_STACKS_MAX) {
		t->overflow++;
		return NULL;
	}
	*r = array_reserve(&t->entries, &t->cap, t->n + 1, err);
	if (*r < 0)
		return NULL;
	for (size_t i = t->n++; i > at; i--)
		t->entries[i] = t->entries[i - 1];
	t->entries[at] = (struct trigger_stacks_entry){
		.id = s->id, .half = half, .low = { before, before }, .mark_bytes = -1
	};
	return &t->entries[at];
}

static void enter_half(struct trigger_stacks_entry *e, uint64_t half, int64_t held)
{
	if (e->half == half)
		return;
	e->low[1] = e->half + 1 == half ? e->low[0] : held;
	e->low[0] = held;
	e->half = half;
}

/* How much it has grown beyond what was captured already. */
static int64_t growth(struct trigger_stacks_entry *e, uint64_t half, int64_t held)
{
	int64_t low;

	e->seen = true;
	enter_half(e, half, held);
	e->low[0] = held < e->low[0] ? held : e->low[0];
	low = e->low[0] < e->low[1] ? e->low[0] : e->low[1];
	/* it has been below the mark for a while: that counts no more */
	if (held < e->mark_bytes && low < e->mark_bytes / 2)
		e->mark_bytes = -1;
	return held - (e->mark_bytes > low ? e->mark_bytes : low);
}

/* Those that were not seen hold less than a sixteenth now. */
static void forget(struct trigger_stacks *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (t->entries[i].seen)
			t->entries[n++] = t->entries[i];
		t->entries[n ? n - 1 : 0].seen = false;
	}
	t->n = n;
}

struct largest {
	int64_t growth;
	size_t index;
	uint64_t id;
};

static int look_at(struct trigger_stacks *t, uint64_t half, const struct trigger_stack *held,
                   size_t n, struct largest *largest, struct error *err)
{
	int64_t sixteenth = (int64_t)t->trigger->rule.bytes / 16;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		size_t at = place_of(t, held[i].id);
		struct trigger_stacks_entry *e = &t->entries[at];
		int64_t more;

		if (held[i].held_bytes < sixteenth)
			continue;
		if (at == t->n || e->id != held[i].id)
			e = add(t, at, half, &held[i], &r, err);
		if (!e)
			continue;
		more = growth(e, half, held[i].held_bytes);
		if (more > largest->growth)
			*largest = (struct largest){ more, i, held[i].id };
	}
	return r;
}

int trigger_stacks_look(struct trigger_stacks *t, uint64_t now_ns, const struct trigger_stack *held,
                        size_t n, size_t *grown, char reason[TRIGGER_REASON_BYTES],
                        struct error *err)
{
	const struct trigger_rule *rule = &t->trigger->rule;
	uint64_t half_ns = rule->window_ns / 2 ? rule->window_ns / 2 : 1;
	struct largest largest = { 0 };
	int r = look_at(t, now_ns / half_ns, held, n, &largest, err);

	if (r < 0)
		return r;
	forget(t);
	if (largest.growth < (int64_t)rule->bytes || !t->trigger->is_warm ||
	    !trigger_may_fire(t->trigger, now_ns))
		return 0;
	t->entries[place_of(t, largest.id)].mark_bytes = held[largest.index].held_bytes;
	*grown = largest.index;
	snprintf(reason, TRIGGER_REASON_BYTES,
	         "one stack holds %.1f MiB, %.1f MiB more within the last %" PRIu64 " s",
	         (double)held[largest.index].held_bytes / (1 << 20),
	         (double)largest.growth / (1 << 20), rule->window_ns / 1000000000);
	return 1;
}
