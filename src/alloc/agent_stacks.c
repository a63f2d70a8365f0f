/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "target/maps.h"
#include "unwind/unwind_space.h"

#define REFRESH_NS 200000000ull

/* More than any program has; a target's memory could ask for any number. */
enum { MAX_STACKS = 1 << 20, MAX_PCS = 16 << 20 };

struct agent_stacks {
	struct tracee *tracee;
	struct unwind_space code;
	uint64_t refreshed_ns;
	struct mapping trampolines; /* the kernel's page with the trampoline of return probes */
	uint64_t searched_ns;

	struct agent_stack *items; /* [0] is "not stored" */
	u64 *pcs;
	size_t n_items, cap_items, n_pcs, cap_pcs;
	struct hash_map index;
	u64 n_refused;
};

struct agent_stacks *agent_stacks_free(struct agent_stacks *s)
{
	if (!s)
		return NULL;
	unwind_space_clear(&s->code);
	free(s->items);
	free(s->pcs);
	hash_map_clear(&s->index);
	free(s);
	return NULL;
}

static int read_modules(struct agent_stacks *s, struct error *err)
{
	s->refreshed_ns = clock_now_ns();
	return unwind_space_read(&s->code, s->tracee->target, s->tracee->space, err);
}

int agent_stacks_new(struct tracee *t, bool walks, struct agent_stacks **ret, struct error *err)
{
	struct agent_stacks *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_oom(err);
	s->tracee = t;
	r = array_reserve(&s->items, &s->cap_items, 1, err);
	if (r == 0) {
		s->items[s->n_items++] = (struct agent_stack){ 0 };
		r = walks ? read_modules(s, err) : 0;
	}
	if (r < 0) {
		agent_stacks_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* ---- unwinding a copy ---- */

static int read_copy(void *arg, uint64_t addr, void *buf, size_t len)
{
	const struct agent_record *r = arg;
	const uint64_t at = addr - r->sp, there = r->n_bytes;

	if (there > AGENT_STACK_BYTES || at > there || len > there - at)
		return -EFAULT;
	memcpy(buf, r->stack + at, len);
	return 0;
}

static size_t walk(struct agent_stacks *s, const struct agent_record *r, u64 *pcs,
                   enum unwind_stop *stop)
{
	const struct unwind_regs regs = { r->pc, r->sp, r->bp };
	struct error unused;
	size_t n = unwind_walk(s->code.modules, s->code.n_modules, regs, read_copy, (void *)r,
	                       (uint64_t *)pcs, UNWIND_MAX_FRAMES, stop);

	if (*stop != UNWIND_STOP_NO_MODULE || clock_now_ns() - s->refreshed_ns < REFRESH_NS ||
	    read_modules(s, &unused) < 0)
		return n;
	return unwind_walk(s->code.modules, s->code.n_modules, regs, read_copy, (void *)r,
	                   (uint64_t *)pcs, UNWIND_MAX_FRAMES, stop);
}

/* With each pc goes the snapshot of the maps in which its mapping was first seen. */
static void note_snapshots(const struct agent_stacks *s, u64 *pcs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const u64 at = pcs[i] & STACK_PC_ADDRESS;
		const struct symbol_mapping *m = symbol_space_find(s->tracee->space, at - 1);

		pcs[i] = at;
		if (m && m->first <= STACK_PC_MASK)
			pcs[i] |= (u64)m->first << STACK_PC_SHIFT;
	}
}

/* A return probe that somebody has set puts the address of a trampoline, which the kernel
 * keeps in a page of that name, in place of a return address; where that was is known to
 * the kernel alone. */
static void find_trampolines(struct agent_stacks *s)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error unused;

	if (clock_now_ns() - s->searched_ns < REFRESH_NS)
		return;
	s->searched_ns = clock_now_ns();
	if (maps_read(s->tracee->target, &maps, &unused) < 0)
		return;
	for (size_t i = 0; i < maps.n_items; i++) {
		if (!strcmp(maps.items[i].name, "[uprobes]"))
			s->trampolines = (struct mapping){ .start = maps.items[i].start,
				                           .end = maps.items[i].end };
	}
}

static bool is_trampoline(struct agent_stacks *s, u64 pc)
{
	if (!s->trampolines.end)
		find_trampolines(s);
	return pc >= s->trampolines.start && pc < s->trampolines.end;
}

/* Why a walk has ended, when what was behind its last pc is not code of a module. */
static enum unwind_stop why_ended(struct agent_stacks *s, u64 last, enum unwind_stop stop)
{
	if ((stop == UNWIND_STOP_NO_TABLE || stop == UNWIND_STOP_NO_MODULE) &&
	    is_trampoline(s, last & STACK_PC_ADDRESS))
		return UNWIND_STOP_TRAMPOLINE;
	return stop;
}

static u64 hash_of(const u64 *pcs, size_t n, enum unwind_stop stop)
{
	u64 h = hash_u64(stop + 1);

	for (size_t i = 0; i < n; i++)
		h = hash_u64(h ^ pcs[i]);
	return h;
}

static int intern(struct agent_stacks *s, const u64 *pcs, size_t n, enum unwind_stop stop, u32 *ret,
                  struct error *err)
{
	const u64 hash = hash_of(pcs, n, stop);
	uint64_t *known;
	int r;

	for (size_t pos = 0; (known = hash_map_next(&s->index, hash, &pos));) {
		const struct agent_stack *x = &s->items[*known];

		*ret = *known;
		if (x->n == n && x->stop == stop &&
		    !memcmp(s->pcs + x->first, pcs, n * sizeof(*pcs)))
			return 0;
	}
	*ret = 0;
	if (s->n_items >= MAX_STACKS || s->n_pcs + n > MAX_PCS) {
		s->n_refused++;
		return 0;
	}
	r = array_reserve(&s->items, &s->cap_items, s->n_items + 1, err);
	if (r == 0)
		r = array_reserve(&s->pcs, &s->cap_pcs, s->n_pcs + n, err);
	if (r == 0)
		r = hash_map_add(&s->index, hash, s->n_items, err);
	if (r < 0)
		return r;
	memcpy(s->pcs + s->n_pcs, pcs, n * sizeof(*pcs));
	*ret = s->n_items;
	s->items[s->n_items++] = (struct agent_stack){ .first = s->n_pcs, .n = n, .stop = stop };
	s->n_pcs += n;
	return 0;
}

int agent_stacks_add(struct agent_stacks *s, const struct agent_record *r, u32 *ret,
                     struct error *err)
{
	u64 pcs[UNWIND_MAX_FRAMES];
	enum unwind_stop stop = UNWIND_STOP_END;
	size_t n = walk(s, r, pcs, &stop);

	note_snapshots(s, pcs, n);
	return intern(s, pcs, n, n ? why_ended(s, pcs[n - 1], stop) : stop, ret, err);
}

int agent_stacks_add_pcs(struct agent_stacks *s, const u64 *pcs, size_t n, enum unwind_stop stop,
                         u32 *ret, struct error *err)
{
	return intern(s, pcs, n, n ? why_ended(s, pcs[n - 1], stop) : stop, ret, err);
}

u64 agent_stacks_n_refused(const struct agent_stacks *s)
{
	return s->n_refused;
}

size_t agent_stacks_n(const struct agent_stacks *s)
{
	return s->n_items;
}

struct agent_stack *agent_stacks_at(struct agent_stacks *s, u32 id)
{
	return id < s->n_items ? &s->items[id] : &s->items[0];
}

const u64 *agent_stacks_pcs(const struct agent_stacks *s, u32 id)
{
	return s->pcs + s->items[id < s->n_items ? id : 0].first;
}
