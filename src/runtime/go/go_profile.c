/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_profile.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/go/go_chain.h"
#include "runtime/go/go_variables.h"
#include "target/image.h"

/* Facts from runtime/mprof.go of Go 1.17 to 1.26; the layout is the same in all (1.27 has another
 * one, which is_known() refuses). */
enum {
	WORD = 8,
	BUCKET_BYTES = 48, /* next, allnext, typ, hash, size, nstk; the stack is behind it */
	BUCKET_ALLNEXT = 8,
	BUCKET_TYP = 16,
	BUCKET_HASH = 24,
	BUCKET_SIZE = 32,
	BUCKET_NSTK = 40,
	MEM_PROFILE = 1, /* bucketType */
	FUTURES = 3,
	CYCLES = 1 + FUTURES, /* memRecord: active, future[3] */
	CYCLE_WORDS = 4,      /* allocs, frees, alloc_bytes, free_bytes */
	MAX_STACK = 1024 + 32,
	MAX_BUCKETS = 1 << 22,
	MAX_PCS = 1 << 26, /* of all stacks */
	PIECE_BYTES = 1 << 16,
	FLAG_IN_CYCLE = 19, /* minor; mProfCycle: bit 0 says that the cycle was added */
};
#define MAX_SIZE        (1ull << 47)
#define MAX_STEPS       (1ull << 24) /* of all chains that are tried */
#define MAX_SEGMENT     (1ull << 30)
#define MAX_RATE        (1ull << 40)
#define MMAP_AREA       0x7full /* of addresses >> 40: where the kernel maps; heaps lie elsewhere */
#define SYMBOL_LIST     "runtime.mbuckets"
#define SYMBOL_RATE     "runtime.MemProfileRate"
#define SYMBOL_CYCLE    "runtime.mProfCycle"
#define SYMBOL_CYCLE_18 "runtime.mProf" /* begins with it */

void go_profile_clear(struct go_profile *p)
{
	free(p->items);
	free(p->pcs);
	*p = (struct go_profile){ 0 };
}

static bool word(const struct go_pclntab *t, uint64_t at, uint64_t *ret)
{
	return image_read(t->module->image, at, ret, sizeof(*ret)) == 0;
}

static bool is_known(const struct go_layout *l)
{
	return l->bucket_allnext == BUCKET_ALLNEXT && l->bucket_typ == BUCKET_TYP &&
	       l->bucket_size == BUCKET_SIZE && l->bucket_nstk == BUCKET_NSTK &&
	       l->bucket_bytes == BUCKET_BYTES && l->mem_record_active == 0 &&
	       l->mem_record_future == CYCLE_WORDS * WORD &&
	       l->mem_record_bytes == CYCLES * CYCLE_WORDS * WORD &&
	       l->mem_cycle_bytes == CYCLE_WORDS * WORD && l->mem_cycle_frees == WORD &&
	       l->mem_profile == MEM_PROFILE;
}

/* ---- one bucket ---- */

struct header {
	uint64_t next, size, n;
};

static bool read_header(const struct go_pclntab *t, uint64_t at, struct header *ret)
{
	uint64_t w[BUCKET_BYTES / WORD];

	if (!at || at % WORD || image_read(t->module->image, at, w, sizeof(w)) < 0)
		return false;
	*ret = (struct header){ w[BUCKET_ALLNEXT / WORD], w[BUCKET_SIZE / WORD],
		                w[BUCKET_NSTK / WORD] };
	return w[BUCKET_TYP / WORD] == MEM_PROFILE && w[BUCKET_HASH / WORD] && ret->size &&
	       ret->size < MAX_SIZE && ret->n && ret->n <= MAX_STACK && ret->next % WORD == 0;
}

static int append(const struct go_pclntab *t, uint64_t at, const struct header *h,
                  struct go_profile *p, struct error *err)
{
	int r = array_reserve(&p->items, &p->cap, p->n + 1, err);

	if (p->n_pcs + h->n > MAX_PCS)
		return r < 0 ? r : 0;
	if (r == 0)
		r = array_reserve(&p->pcs, &p->cap_pcs, p->n_pcs + h->n, err);
	if (r < 0)
		return r;
	if (image_read(t->module->image, at + BUCKET_BYTES, p->pcs + p->n_pcs, h->n * WORD) < 0)
		return 0;
	p->items[p->n++] = (struct go_profile_bucket){
		.at = at,
		.size = h->size,
		.first = (uint32_t)p->n_pcs,
		.n = (uint32_t)h->n,
	};
	p->n_pcs += h->n;
	return 1;
}

bool go_profile_read_bucket(const struct go_pclntab *t, uint64_t at, struct go_profile *p,
                            struct error *err)
{
	struct header h;

	return is_known(t->module->layout) && read_header(t, at, &h) &&
	       append(t, at, &h, p, err) > 0;
}

/* ---- finding the list ---- */

/* How many buckets hang together from @at on. */
static uint64_t length(const struct go_pclntab *t, uint64_t at, uint64_t *steps)
{
	struct go_chain chain = { 0 };
	uint64_t n = 0;
	struct header h;

	while (n < MAX_BUCKETS && *steps < MAX_STEPS && read_header(t, at, &h) &&
	       go_chain_goes_on(&chain, at)) {
		++*steps;
		n++;
		at = h.next;
	}
	return at ? 0 : n;
}

struct search {
	const struct go_pclntab *t;
	bool elsewhere; /* look at pointers out of the mmap area */
	uint64_t steps, best, longest;
};

static void search_words(struct search *s, const uint64_t *words, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = words[i], found;

		if (!at || at % WORD || at >> 47 || (at >> 40 != MMAP_AREA) != s->elsewhere)
			continue;
		found = length(s->t, at, &s->steps);
		if (found > s->longest) {
			s->longest = found;
			s->best = at;
		}
	}
}

static void search_segment(struct search *s, uint64_t at, uint64_t end)
{
	uint64_t stop = end - at < MAX_SEGMENT ? end : at + MAX_SEGMENT;

	while (at + WORD <= stop) {
		const struct image_segment *in = image_find(s->t->module->image, at);
		uint64_t n = stop - at < PIECE_BYTES ? stop - at : PIECE_BYTES;
		const uint64_t *words = NULL;

		/* .bss begins in the last page of the file's mapping */
		if (in && n > in->end - at)
			n = in->end - at;
		n = n < WORD ? WORD : n / WORD * WORD;
		if (in)
			words = image_at(s->t->module->image, at, n);
		if (words)
			search_words(s, words, n / WORD);
		at += n;
	}
}

/* By its shape: the longest chain that a word of the module's data begins. Buckets
 * lie outside of the heap (persistentalloc). */
static uint64_t find_list(const struct go_pclntab *t)
{
	const struct go_layout *l = t->module->layout;
	/* starts; the ends are behind them */
	const uint32_t segments[] = { l->moduledata_noptrbss, l->moduledata_noptrdata,
		                      l->moduledata_data, l->moduledata_bss };
	struct search s = { .t = t };

	for (unsigned pass = 0; pass < 2 && !s.best; pass++) {
		s.elsewhere = pass == 1;
		for (size_t k = 0; k < ARRAY_SIZE(segments); k++) {
			uint64_t at = t->module->at + segments[k], start, end;

			if (word(t, at, &start) && word(t, at + WORD, &end) && start < end)
				search_segment(&s, (start + WORD - 1) / WORD * WORD, end);
		}
	}
	return s.best;
}

/* ---- the rate ---- */

void go_profile_read_rate(const struct go_pclntab *t, struct go_profile *p)
{
	struct go_code_function f;
	uint64_t at = go_variables_symbol(t->module, SYMBOL_RATE);

	/* nextSample() is inlined in both (malloc.go, mcache.go) */
	if (!at)
		at = go_variables_shared(t->module, "runtime.profilealloc", "runtime.allocmcache",
		                         GO_VARIABLES_ANY);
	p->has_rate = at && word(t, at, &p->rate) && p->rate < MAX_RATE;
	if (!p->has_rate)
		p->rate = 0;
	/* since 1.23 the linker looks for the second one */
	p->is_linked = p->rate || go_code_find(t->module, "runtime.MemProfile", &f) ||
	               go_code_find(t->module, "runtime.memProfileInternal", &f);
}

double go_profile_scale(uint64_t size, uint64_t rate)
{
	return rate <= 1 || !size ? 1 : 1 / (1 - exp(-(double)size / (double)rate));
}

/* ---- all of it ---- */

static void add_cycle(struct go_profile_bucket *b, const uint64_t *c)
{
	b->allocs += c[0];
	b->frees += c[1];
	b->alloc_bytes += c[2];
	b->free_bytes += c[3];
}

static int read_list(const struct go_pclntab *t, uint64_t at, struct go_profile *p,
                     struct error *err)
{
	struct go_chain chain = { 0 };
	struct header h;

	while (p->n < MAX_BUCKETS && go_chain_goes_on(&chain, at)) {
		int r = read_header(t, at, &h) ? append(t, at, &h, p, err) : 0;

		if (r < 0)
			return r;
		if (r == 0)
			break;
		at = h.next;
	}
	p->is_torn = at != 0;
	return 0;
}

/* The cycle of memRecord.future that the runtime adds to the published counters before anything
 * reads them, unless the end of the collection has done so and left zeros there (mProf_NextCycle,
 * mProf_FlushLocked): 0 to 2; -1: its counter is not found. */
static int find_due(const struct go_pclntab *t)
{
	bool has_flag = t->module->layout->minor >= FLAG_IN_CYCLE;
	uint64_t at = go_variables_symbol(t->module, has_flag ? SYMBOL_CYCLE : SYMBOL_CYCLE_18);
	uint32_t cycle;

	if (!at)
		at = go_variables_shared(t->module, "runtime.mProf_Free", "runtime.mProf_PostSweep",
		                         GO_VARIABLES_READ);
	if (!at || image_read(t->module->image, at, &cycle, sizeof(cycle)) < 0)
		return -1;
	return (int)((has_flag ? cycle >> 1 : cycle) % FUTURES);
}

/* What runtime.MemProfile would say: the published counters and what is due to be; before any
 * collection has published some, all that are waiting. */
static void read_counters(const struct go_pclntab *t, struct go_profile *p)
{
	const int due = find_due(t);
	bool is_empty = true;

	for (unsigned pass = 0; pass < 2 && is_empty; pass++) {
		for (size_t i = 0; i < p->n; i++) {
			struct go_profile_bucket *b = &p->items[i];
			uint64_t c[CYCLES * CYCLE_WORDS];

			if (image_read(t->module->image, b->at + BUCKET_BYTES + b->n * WORD, c,
			               sizeof(c)) < 0)
				continue;
			*b = (struct go_profile_bucket){ b->at, b->size, b->first, b->n };
			add_cycle(b, c);
			for (int k = 0; k < FUTURES; k++) {
				if (pass || k == due)
					add_cycle(b, c + (1 + k) * CYCLE_WORDS);
			}
			is_empty &= !b->allocs && !b->frees;
		}
	}
}

int go_profile_read(const struct go_pclntab *t, struct go_profile *ret, struct error *err)
{
	cleanup(go_profile_clear) struct go_profile p = { 0 };
	uint64_t at = go_variables_symbol(t->module, SYMBOL_LIST), head = 0;
	int r;

	if (!is_known(t->module->layout))
		return error_set(err, ENOTSUP,
		                 "the heap profile of this Go is laid out in a way not known");
	go_profile_read_rate(t, &p);
	if (at && !word(t, at, &head))
		p.is_torn = true;
	if (!at)
		head = find_list(t);
	r = read_list(t, head, &p, err);
	if (r < 0)
		return r;
	read_counters(t, &p);
	*ret = p;
	p = (struct go_profile){ 0 };
	return 0;
}

uint64_t go_profile_fingerprint(const struct go_profile *p)
{
	uint64_t h = p->n ? hash_bytes(p->items, p->n * sizeof(*p->items), p->rate) : p->rate;

	return p->n_pcs ? hash_bytes(p->pcs, p->n_pcs * sizeof(*p->pcs), h) : h;
}
