/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "map/ladder_internal.h"
#include "target/reader.h"

enum {
	MOST_GUARD_BYTES = 1 << 20,
	MOST_TLS_BYTES = 64 << 20, /* of one module: more is a damaged header */
	THREAD_BYTES = 2048, /* at least, of struct pthread (glibc 2.31 to 2.42: 2304 and more) */
	PAGE_BYTES = 4096,
};

/* From the end down to the lowest page that was ever touched. */
static int64_t depth(const struct ladder_work *w, uint64_t start, uint64_t end)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from, to;
	int r = reader_present(w->t, start / page * page, (end + page - 1) / page * page, &from,
	                       &to);

	if (r < 0)
		return -1;
	return r == 0 ? 0 : (int64_t)(end - (from > start ? from : start));
}

static void describe(const struct ladder_work *w, const struct thread *th,
                     struct regions_heap *heap, bool proven)
{
	int64_t touched = depth(w, th->stack_start, th->stack_end);

	snprintf(heap->name, sizeof(heap->name), "%s", th->comm);
	snprintf(heap->detail, sizeof(heap->detail), "tid %d", th->tid);
	if (proven)
		snprintf(heap->evidence, sizeof(heap->evidence),
		         "the thread's own structure at %" PRIx64 " names it", th->tcb);
	else
		snprintf(heap->evidence, sizeof(heap->evidence),
		         "the stack pointer %" PRIx64 " lies in it, a guard below it", th->sp);
	regions_figure(heap, "tid", "tid", th->tid);
	if (touched >= 0)
		regions_figure(heap, "depth_bytes", "touched depth", touched);
}

static int guard_part(struct ladder_work *w, int64_t *index, struct error *err)
{
	struct regions_heap *heap;
	uint32_t part;
	int r;

	if (*index >= 0)
		return 0;
	r = ladder_label_add(w, REGIONS_GUARD, &part, err);
	if (r < 0)
		return r;
	heap = &w->l.parts[part].heap;
	snprintf(heap->name, sizeof(heap->name), "thread stacks' guards");
	snprintf(heap->evidence, sizeof(heap->evidence), "no access, directly below a stack");
	*index = part;
	return 0;
}

static int claim_guard(struct ladder_work *w, const struct thread *th, int64_t *guards,
                       struct error *err)
{
	const struct mapping *below = maps_find(&w->maps, th->stack_start - 1);
	uint64_t bytes = th->guard_bytes;
	int r;

	if (!below || below->inode || !ladder_label_is_no_access(below))
		return 0;
	if (!bytes && below->end == th->stack_start)
		bytes = below->end - below->start;
	if (!bytes || bytes > MOST_GUARD_BYTES || bytes > th->stack_start - below->start)
		return 0;
	r = guard_part(w, guards, err);
	if (r < 0)
		return r;
	return ladder_divide_claim(w, th->stack_start - bytes, th->stack_start, (uint32_t)*guards,
	                           LADDER_PROVEN, err);
}

static bool is_main_stack(const struct ladder_work *w, const struct thread *th)
{
	const struct mapping *m = maps_find(&w->maps, th->stack_start);

	return m && !strcmp(m->name, "[stack]");
}

static int claim_stack(struct ladder_work *w, const struct thread *th, int64_t *guards,
                       struct error *err)
{
	bool proven = th->tcb >= th->stack_start && th->tcb < th->stack_end;
	uint32_t part;
	int r = ladder_label_add(w, REGIONS_THREAD_STACK, &part, err);

	if (r < 0)
		return r;
	describe(w, th, &w->l.parts[part].heap, proven);
	r = ladder_divide_claim(w, th->stack_start, th->stack_end, part,
	                        proven ? LADDER_PROVEN : LADDER_BY_SHAPE, err);
	return r < 0 ? r : claim_guard(w, th, guards, err);
}

/* glibc keeps the stacks of ended threads, up to 40 MiB of them, for new ones. */
static int claim_ended(struct ladder_work *w, int64_t *guards, struct error *err)
{
	const struct threads *all = &w->threads;
	struct regions_heap *heap;
	uint32_t part;
	int r;

	if (!all->n_ended)
		return 0;
	r = ladder_label_add(w, REGIONS_THREAD_STACK, &part, err);
	if (r < 0)
		return r;
	heap = &w->l.parts[part].heap;
	snprintf(heap->name, sizeof(heap->name), "ended threads");
	snprintf(heap->detail, sizeof(heap->detail), "%zu stacks that glibc keeps for new threads",
	         all->n_ended);
	snprintf(heap->evidence, sizeof(heap->evidence),
	         "a thread's own structure without thread id in each names it");
	regions_figure(heap, "stacks", "stacks", (int64_t)all->n_ended);
	for (size_t i = 0; r == 0 && i < all->n_ended; i++) {
		r = ladder_divide_claim(w, all->ended[i].stack_start, all->ended[i].stack_end, part,
		                        LADDER_PROVEN, err);
		if (r == 0)
			r = claim_guard(w, &all->ended[i], guards, err);
	}
	return r;
}

/* Bytes below the thread pointer: the variables of all modules that were there at
 * the start (variant II of TLS; a module that came later makes it more, not less). */
static uint64_t tls_bytes(const struct ladder_work *w)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < symbol_space_n(w->space); i++) {
		const struct symbol_mapping *m = symbol_space_at(w->space, i);
		struct elf_file *elf = m->module && !m->gone ? symbol_module_elf(m->module) : NULL;
		bool seen = i && symbol_space_at(w->space, i - 1)->module == m->module;

		for (size_t k = 0; elf && !seen && k < elf_file_n_segments(elf); k++) {
			struct elf_segment s = elf_file_segment(elf, k);

			if (s.type == PT_TLS && s.memsz < MOST_TLS_BYTES)
				bytes += (s.memsz + 63) / 64 * 64;
		}
	}
	return bytes;
}

static uint64_t at_most(uint64_t v, uint64_t limit)
{
	return v < limit ? v : limit;
}

/* The loader puts the first thread's own structure and thread-local storage into a
 * mapping of its own, but the kernel may join it with one of the program's: only
 * the pages that they are in are claimed. */
static int claim_first_tls(struct ladder_work *w, const struct thread *th, struct error *err)
{
	const struct mapping *m = th->tcb ? maps_find(&w->maps, th->tcb) : NULL;
	struct regions_heap *heap;
	uint64_t vector, start, end;
	uint32_t part;
	int r;

	if (!m || m->inode || m->name[0] ||
	    (th->tcb >= th->stack_start && th->tcb < th->stack_end) ||
	    reader_try(w->t, th->tcb + 8, &vector, sizeof(vector)) < 0 || vector < m->start ||
	    vector >= m->end)
		return 0;
	r = ladder_label_add(w, REGIONS_OTHER_HEAP, &part, err);
	if (r < 0)
		return r;
	heap = &w->l.parts[part].heap;
	snprintf(heap->name, sizeof(heap->name), "thread-local storage");
	snprintf(heap->detail, sizeof(heap->detail), "of the first thread, made by the loader");
	snprintf(heap->evidence, sizeof(heap->evidence),
	         "the first thread's own structure (%" PRIx64 ") and its vector lie in it",
	         th->tcb);
	start = th->tcb - at_most(tls_bytes(w), th->tcb - m->start);
	end = at_most(th->tcb + THREAD_BYTES, m->end);
	start = start / PAGE_BYTES * PAGE_BYTES;
	end = at_most((end + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES, m->end);
	r = ladder_divide_claim(w, start, end, part, LADDER_BY_SHAPE, err);
	/* its vector: behind it, mostly */
	if (r == 0 && (vector < start || vector >= end))
		r = ladder_divide_claim(w, vector / PAGE_BYTES * PAGE_BYTES,
		                        vector / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES, part,
		                        LADDER_BY_SHAPE, err);
	return r;
}

/* The first thread's stack is [stack], which maps names. */
int ladder_stacks_claim(struct ladder_work *w, struct error *err)
{
	int64_t guards = -1;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->threads.n_items; i++) {
		const struct thread *th = &w->threads.items[i];

		if (th->stack_end && !is_main_stack(w, th))
			r = claim_stack(w, th, &guards, err);
		if (r == 0 && th->tid == w->t->pid)
			r = claim_first_tls(w, th, err);
	}
	return r < 0 ? r : claim_ended(w, &guards, err);
}
