/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_slots.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_format.h"
#include "base/cleanup.h"
#include "target/maps.h"

struct tending {
	struct inject *in;
	uint64_t base, slots_at; /* of the agent's data, and its slots */
	struct maps maps;
	struct agent_slot slots[AGENT_SLOTS];
	uint32_t tids[AGENT_SLOTS]; /* who has it now; 0: not known */
};

static void tending_free(struct tending **t)
{
	if (*t)
		maps_clear(&(*t)->maps);
	free(*t);
}

static void find_main_stack(const struct maps *maps, uint64_t *low, uint64_t *high)
{
	*low = *high = 0;
	for (size_t i = 0; i < maps->n_items; i++) {
		const struct mapping *m = &maps->items[i];

		if (strcmp(m->name, "[stack]") || !(m->prot & MAPS_WRITE))
			continue;
		*low = m->start;
		*high = m->end;
	}
}

int agent_slots_main_stack(const struct target *t, uint64_t *low, uint64_t *high, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = maps_read(t, &maps, err);

	if (r == 0)
		find_main_stack(&maps, low, high);
	return r;
}

/* Where the stack of the thread with this thread pointer begins: glibc has its own
 * data at the end of the stack that it mapped, a guard page lies below. */
static uint64_t stack_low(const struct maps *maps, uint64_t thread)
{
	const struct mapping *m = maps_find(maps, thread);

	if (!m || m == maps->items || m->inode || m->name[0] ||
	    (m->prot & ~MAPS_EXEC) != (MAPS_READ | MAPS_WRITE) || m[-1].end != m->start ||
	    m[-1].prot != 0)
		return 0;
	return m->start;
}

static int put(const struct tending *t, uint64_t at, const void *bytes, size_t n, struct error *err)
{
	return inject_write(t->in, t->slots_at + at, bytes, n, err);
}

/* The number last, and none while it changes. */
static int tend_slot(const struct tending *t, size_t i, struct error *err)
{
	const struct agent_slot *s = &t->slots[i];
	const uint64_t at = i * sizeof(*s);
	const uint64_t tid_at = at + offsetof(struct agent_slot, stack_tid);
	const uint64_t low = t->tids[i] ? stack_low(&t->maps, s->owner) : 0;
	const uint32_t none = 0, tid = low ? t->tids[i] : 0;
	int r = 0;

	if (tid == s->stack_tid && (!tid || low == s->stack_low))
		return 0;
	if (s->stack_tid)
		r = put(t, tid_at, &none, sizeof(none), err);
	if (r == 0 && tid)
		r = put(t, at + offsetof(struct agent_slot, stack_low), &low, sizeof(low), err);
	return r < 0 || !tid ? r : put(t, tid_at, &tid, sizeof(tid), err);
}

static int tend_main_stack(const struct tending *t, struct error *err)
{
	const uint64_t at = offsetof(struct agent_data, control);
	uint64_t low, high, known = 0;
	int r;

	find_main_stack(&t->maps, &low, &high);
	r = inject_read(t->in, t->base + at + offsetof(struct agent_control, main_low), &known,
	                sizeof(known), err);
	if (r < 0 || !low || low == known)
		return r;
	return inject_write(t->in, t->base + at + offsetof(struct agent_control, main_low), &low,
	                    sizeof(low), err);
}

/* The numbers before the maps: if a thread ends in between, what is written is about a
 * thread that is no more. */
static int read_all(struct tending *t, const struct target *target, struct error *err)
{
	struct error unused;
	int r = inject_read(t->in, t->slots_at, t->slots, sizeof(t->slots), err);

	for (size_t i = 0; r == 0 && i < AGENT_SLOTS; i++) {
		const uint64_t thread = t->slots[i].owner;

		if (!thread || inject_read(t->in, thread + AGENT_TID_AT, &t->tids[i],
		                           sizeof(t->tids[i]), &unused) < 0)
			t->tids[i] = 0;
	}
	return r < 0 ? r : maps_read(target, &t->maps, err);
}

static int empty_slots(const struct tending *t, struct error *err)
{
	const uint64_t nobody = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < AGENT_SLOTS; i++)
		r = put(t, i * sizeof(struct agent_slot), &nobody, sizeof(nobody), err);
	return r;
}

int agent_slots_tend(struct inject *in, const struct target *target, uint64_t base,
                     uint64_t slots_at, struct error *err)
{
	cleanup(tending_free) struct tending *t = calloc(1, sizeof(*t));
	size_t used = 0;
	int r;

	if (!t)
		return error_oom(err);
	t->in = in;
	t->base = base + AGENT_CODE_BYTES;
	t->slots_at = slots_at ? slots_at : t->base + offsetof(struct agent_data, slots);
	r = read_all(t, target, err);
	if (r == 0)
		r = tend_main_stack(t, err);
	for (size_t i = 0; r == 0 && i < AGENT_SLOTS; i++) {
		if (!t->slots[i].owner)
			continue;
		used++;
		r = tend_slot(t, i, err);
	}
	return r == 0 && used > AGENT_SLOTS * 3 / 4 ? empty_slots(t, err) : r;
}
