/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_format.h"
#include "base/cleanup.h"
#include "inject/area.h"
#include "inject/journal.h"
#include "map/ladder_internal.h"
#include "target/reader.h"

/*
 * What memwho itself has in the process: the sampling engine's code and tables while
 * it records and the small mappings that stay behind it, so that nobody looks for
 * them in the program. Ours is only what begins with our mark.
 */

enum { PAGE_BYTES = 4096 };

static int add_part(struct ladder_work *w, const char *name, const char *detail, uint32_t *ret,
                    struct error *err)
{
	struct regions_heap *heap;
	int r = ladder_label_add(w, REGIONS_MEMWHO, ret, err);

	if (r < 0)
		return r;
	heap = &w->l.parts[*ret].heap;
	snprintf(heap->name, sizeof(heap->name), "%s", name);
	snprintf(heap->detail, sizeof(heap->detail), "%s", detail);
	snprintf(heap->evidence, sizeof(heap->evidence), "memwho's mark is in it");
	return 0;
}

/* What of it is anonymous memory: a file's pages may have been mapped there since. */
static int claim(struct ladder_work *w, uint64_t start, uint64_t bytes, uint32_t part,
                 struct error *err)
{
	const uint64_t end = start + bytes > start ? start + bytes : start;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->maps.n_items; i++) {
		const struct mapping *m = &w->maps.items[i];
		const uint64_t from = m->start > start ? m->start : start;
		const uint64_t to = m->end < end ? m->end : end;

		if (from < to && !m->inode && !m->name[0])
			r = ladder_divide_claim(w, from, to, part, LADDER_PROVEN, err);
	}
	return r;
}

/* ---- the agent ---- */

/* The pages of the allocator's code that are copies of ours (--patch page), and the mapping that
 * they come from: a page with our mark, the copies, and room for the file's own. */
static int claim_pages(struct ladder_work *w, const struct agent_table *t, uint32_t part,
                       struct error *err)
{
	uint64_t last = 0, n = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < t->n_functions; i++) {
		const uint64_t page = t->functions[i].patch_at / PAGE_BYTES * PAGE_BYTES;

		n += page != last;
		last = page;
		r = claim(w, page, PAGE_BYTES, part, err);
	}
	return r < 0 ? r : claim(w, t->pages_at, (1 + 2 * n) * PAGE_BYTES, part, err);
}

static int claim_agent(struct ladder_work *w, uint64_t base, const struct agent_table *t,
                       struct error *err)
{
	uint32_t part;
	int r = add_part(w, "agent",
	                 t->place == AGENT_PLACE_PATCHED
	                         ? "records from inside (memwho alloc)"
	                         : "left by a recording, used again by the next",
	                 &part, err);

	if (r == 0)
		r = claim(w, base, AGENT_BYTES, part, err);
	if (r == 0 && t->exact_at)
		r = claim(w, t->exact_at, t->exact_bytes, part, err);
	if (r == 0 && t->pages_at)
		r = claim_pages(w, t, part, err);
	return r;
}

/* As much as there is: pages of it that nothing was written to are not. */
static void read_table(const struct ladder_work *w, uint64_t base, struct agent_table *ret)
{
	const uint64_t at = base + AGENT_TABLE_AT,
		       functions = at + offsetof(struct agent_table, functions);

	memset(ret, 0, sizeof(*ret));
	if (reader_try(w->t, at, ret, offsetof(struct agent_table, ranges)) < 0 ||
	    ret->magic != AGENT_MAGIC || ret->n_functions > AGENT_MAX_FUNCTIONS)
		memset(ret, 0, sizeof(*ret));
	if (reader_try(w->t, functions, ret->functions,
	               ret->n_functions * sizeof(*ret->functions)) < 0)
		ret->n_functions = 0;
}

static bool is_code(const struct mapping *m)
{
	return !m->inode && !m->name[0] && (m->prot & MAPS_EXEC) &&
	       m->end - m->start >= AGENT_CODE_BYTES;
}

static int claim_agents(struct ladder_work *w, struct error *err)
{
	cleanup_free struct agent_table *t = malloc(sizeof(*t));
	int r = t ? 0 : error_oom(err);

	for (size_t i = 0; r == 0 && i < w->maps.n_items; i++) {
		const uint64_t base = w->maps.items[i].start;
		uint64_t mark;

		if (!is_code(&w->maps.items[i]) ||
		    reader_try(w->t, base + AGENT_CLAIM_AT, &mark, sizeof(mark)) < 0 ||
		    mark != AGENT_MAGIC)
			continue;
		read_table(w, base, t);
		r = claim_agent(w, base, t, err);
	}
	return r;
}

/* ---- the area of calls ---- */

static int claim_area(struct ladder_work *w, struct error *err)
{
	const uint64_t area = area_find(&w->maps);
	uint64_t mark;
	uint32_t part;
	int r;

	if (!area || reader_try(w->t, area + JOURNAL_CODE_BYTES, &mark, sizeof(mark)) < 0 ||
	    mark != JOURNAL_MAGIC)
		return 0;
	r = add_part(w, "calls", "for calls in the process, used again by the next", &part, err);
	return r < 0 ? r : claim(w, area, JOURNAL_AREA_BYTES, part, err);
}

int ladder_own_claim(struct ladder_work *w, struct error *err)
{
	int r = claim_agents(w, err);

	return r < 0 ? r : claim_area(w, err);
}
