/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	MAX_CACHES = 1 << 16,       /* candidates: chunks that look like a thread's cache */
	MAX_EMPTY_CACHES = 1 << 12, /* of these, such as hold nothing: any zeroed block does */
};

void glibc_view_clear(struct glibc_view *v)
{
	for (size_t i = 0; v->items && i < v->arenas->n; i++)
		glibc_lists_set_clear(&v->items[i].fast);
	free(v->items);
	free(v->tcache_arena);
	glibc_tcache_clear(&v->tcaches);
	glibc_threads_clear(&v->threads);
	glibc_lists_set_clear(&v->cached);
	*v = (struct glibc_view){ 0 };
}

/* Walking an arena: chunks that may be caches are noted. */
struct visitor {
	struct glibc_view *v;
	size_t arena, n_empty;
	int failed;
	struct error *err;
};

static int note_cache(struct visitor *t, const struct glibc_tcache *c)
{
	struct glibc_tcaches *to = &t->v->tcaches;
	size_t cap = to->cap;
	int r = array_reserve(&to->items, &to->cap, to->n + 1, t->err);

	if (r == 0 && (cap != to->cap || !t->v->tcache_arena)) {
		size_t *grown = reallocarray(t->v->tcache_arena, to->cap, sizeof(*grown));

		if (!grown)
			return error_oom(t->err);
		t->v->tcache_arena = grown;
	}
	if (r < 0)
		return r;
	t->v->tcache_arena[to->n] = t->arena;
	to->items[to->n++] = *c;
	return 0;
}

static bool visit(void *ctx, const struct glibc_walk_chunk *c)
{
	struct visitor *t = ctx;
	struct glibc_tcache cache;

	if (c->state != GLIBC_WALK_USED || !glibc_tcache_fits(c->bytes) ||
	    t->v->tcaches.n >= MAX_CACHES ||
	    !glibc_tcache_parse(t->v->peek, t->v->in->maps, c->at, c->bytes, &cache))
		return true;
	if (cache.empty && t->n_empty++ >= MAX_EMPTY_CACHES)
		return true;
	t->failed = note_cache(t, &cache);
	return t->failed == 0;
}

/* How are links stored? The fastbins of all arenas vote. */
static void vote_fastbins(struct glibc_view *v, struct glibc_lists_votes *votes)
{
	for (size_t i = 0; i < v->arenas->n; i++) {
		const struct glibc_arena *a = &v->arenas->items[i];

		for (unsigned k = 0; k < GLIBC_ARENA_FASTBINS; k++) {
			if (a->fastbins[k] && a->fastbins[k] % 16 == 0)
				glibc_lists_vote(v->peek, v->in->maps, a->fastbins[k] + 16, votes);
		}
	}
}

static int walk_arena(struct glibc_view *v, size_t i, struct glibc_walk *w,
                      struct glibc_view_arena *a, struct error *err)
{
	struct glibc_arena *arena = &v->arenas->items[i];
	struct visitor visitor = { .v = v, .arena = i, .err = err };
	int r = 0;

	w->arena = arena;
	w->fast = a->fast.items;
	w->n_fast = a->fast.n;
	w->trim_top = arena->is_main && arena->contiguous;
	w->visit = visit;
	w->ctx = &visitor;
	a->whole = !arena->broken;
	for (size_t k = 0; r == 0 && k < arena->n_areas; k++) {
		const struct glibc_area *area = &arena->areas[k];
		uint64_t end;

		r = glibc_walk_area(w, area, &a->sum, &end, err);
		if (r == 0)
			r = visitor.failed;
		a->whole &= r == 0 && end == area->end;
		a->area_bytes += area->end - area->base;
	}
	if (r == 0 && !a->whole)
		a->binned = glibc_lists_bin_bytes(v->peek, arena, &a->sum.checked,
		                                  &a->sum.inconsistent);
	return r;
}

static int walk_all(struct glibc_view *v, struct error *err)
{
	struct glibc_walk w = { .peek = v->peek,
		                .maps = v->in->maps,
		                .shift = v->arenas->shift,
		                .trim_page = v->arenas->params.thp_pagesize };
	struct glibc_lists_votes votes = { 0 };
	int r = 0;

	vote_fastbins(v, &votes);
	v->mangled = glibc_lists_mangled(&votes);
	for (size_t i = 0; r == 0 && i < v->arenas->n; i++) {
		struct glibc_arena *arena = &v->arenas->items[i];
		struct glibc_view_arena *a = &v->items[i];

		peek_forget(v->peek);
		if (!v->in->stopped &&
		    glibc_arena_refresh(v->peek, v->in->maps, v->arenas->shift, arena))
			r = glibc_arena_areas(v->peek, v->in, v->arenas, arena, err);
		if (r == 0)
			r = glibc_lists_fastbins(v->peek, arena, v->mangled, &a->fast,
			                         &a->fast_bytes, &a->sum.checked,
			                         &a->sum.inconsistent, err);
		glibc_lists_sort(&a->fast);
		if (r == 0)
			r = walk_arena(v, i, &w, a, err);
	}
	return r;
}

static bool has_thread(const struct glibc_view *v, size_t cache)
{
	for (size_t i = 0; i < v->threads.n; i++) {
		if (v->threads.items[i].tcache == (ssize_t)cache)
			return true;
	}
	return false;
}

/* Each thread has one that was found: then any other is some block that looks
 * like one. */
static bool all_known(const struct glibc_view *v)
{
	for (size_t i = 0; i < v->threads.n; i++) {
		if (v->threads.items[i].tcache == GLIBC_THREADS_NONE)
			return false;
	}
	return v->in->threads && v->threads.n && v->threads.n == v->in->threads->n_items;
}

static bool is_real(const struct glibc_view *v, size_t cache, bool known)
{
	return has_thread(v, cache) || (!known && !v->tcaches.items[cache].empty);
}

static int read_caches(struct glibc_view *v, struct error *err)
{
	cleanup_free uint64_t *bytes = calloc(v->arenas->n, sizeof(*bytes));
	struct glibc_lists_votes votes = { 0 };
	bool known = all_known(v);
	int r = 0;

	if (!bytes)
		return error_oom(err);
	peek_forget(v->peek);
	vote_fastbins(v, &votes);
	for (size_t i = 0; i < v->tcaches.n; i++)
		glibc_tcache_vote(v->peek, v->in->maps, &v->tcaches.items[i], &votes);
	v->mangled = glibc_lists_mangled(&votes);
	for (size_t i = 0; r == 0 && i < v->tcaches.n; i++) {
		if (is_real(v, i, known))
			r = glibc_tcache_chunks(v->peek, v->arenas, &v->tcaches.items[i],
			                        v->tcache_arena[i], v->mangled, &v->cached, bytes,
			                        &v->checked, &v->inconsistent, err);
	}
	glibc_lists_sort(&v->cached);
	for (size_t i = 0; i < v->arenas->n; i++)
		v->items[i].cached_bytes = bytes[i];
	return r;
}

int glibc_view_read(struct peek *p, const struct regions_input *in, struct glibc_arenas *arenas,
                    struct glibc_view *ret, struct error *err)
{
	static const struct threads none;
	cleanup(glibc_view_clear) struct glibc_view v = { .peek = p, .in = in, .arenas = arenas };
	int r;

	v.items = calloc(arenas->n, sizeof(*v.items));
	if (!v.items)
		return error_oom(err);
	r = walk_all(&v, err);
	if (r == 0)
		r = glibc_threads_match(p, in->threads ? in->threads : &none, arenas, &v.tcaches,
		                        &v.threads, err);
	if (r == 0)
		r = read_caches(&v, err);
	if (r < 0)
		return r;
	*ret = v;
	v = (struct glibc_view){ 0 };
	return 0;
}

struct search {
	uint64_t addr;
	struct glibc_walk_chunk found;
};

static bool search(void *ctx, const struct glibc_walk_chunk *c)
{
	struct search *s = ctx;
	/* a block in use goes on over the next chunk's first word */
	uint64_t over = c->state == GLIBC_WALK_USED ? 8 : 0;

	if (s->addr < c->at || s->addr >= c->at + c->bytes + over)
		return c->at < s->addr;
	s->found = *c;
	return false;
}

static void describe(const struct glibc_view *v, const struct glibc_walk_chunk *c,
                     struct regions_block *ret)
{
	bool cached = glibc_lists_has(&v->cached, c->at);
	const char *text = c->state == GLIBC_WALK_TOP    ? "the top chunk: never given out"
	                   : c->state == GLIBC_WALK_FAST ? "in a fastbin"
	                   : c->state == GLIBC_WALK_FREE ? "in a bin"
	                   : cached                      ? "in a thread's cache"
	                                                 : "in use";

	*ret = (struct regions_block){
		.kind = REGIONS_GLIBC_ARENA,
		.start = c->at + 16,
		.size = c->state == GLIBC_WALK_USED ? c->bytes - 8 : c->bytes - 16,
		.state = c->state != GLIBC_WALK_USED ? REGIONS_BLOCK_FREE
		         : cached                    ? REGIONS_BLOCK_CACHED
		                                     : REGIONS_BLOCK_LIVE,
	};
	snprintf(ret->detail, sizeof(ret->detail), "chunk of %llu bytes, %s",
	         (unsigned long long)c->bytes, text);
}

int glibc_view_block(struct glibc_view *v, size_t arena, uint64_t addr, struct regions_block *ret,
                     struct error *err)
{
	struct search s = { .addr = addr };
	struct glibc_walk w = { .peek = v->peek,
		                .maps = v->in->maps,
		                .shift = v->arenas->shift,
		                .arena = &v->arenas->items[arena],
		                .fast = v->items[arena].fast.items,
		                .n_fast = v->items[arena].fast.n,
		                .visit = search,
		                .ctx = &s };
	const struct glibc_area *area = glibc_arena_area_of(v->arenas, addr, NULL);
	struct glibc_walk_sum sum = { 0 };
	uint64_t end;
	int r;

	if (!area)
		return 0;
	r = glibc_walk_area(&w, area, &sum, &end, err);
	if (r < 0 || !s.found.bytes)
		return r;
	describe(v, &s.found, ret);
	return 1;
}
