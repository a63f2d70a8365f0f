/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_rtree.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

enum {
	PIECE = 64 * 1024,
	VOTES = 64,                /* entries of a leaf that are asked */
	ENOUGH = 2,                /* extents that agree with their entries in all they say */
	MAX_TRIES = 1 << 14,       /* words of one module that look like a leaf's address */
	MAX_BLOCK_STEPS = 1 << 14, /* of 2 MiB: a metadata block of 32 GiB */
};
#define MAX_VOTE_BYTES (1ull << 30) /* of possible leaves of one module, all together */
#define MAX_DATA       (1ull << 30) /* present bytes of a module's data */

#define LEAF_PAGE_MASK ((1ull << JEMALLOC_LAYOUT_TABLE_LG) - 1)
#define LEAF_SPAN      (1ull << JEMALLOC_LAYOUT_LEAF_LG)

/* May a leaf be at @addr? */
static bool is_leaf_place(const struct maps *maps, uint64_t addr)
{
	return addr % 64 == 0 && addr >= JEMALLOC_LAYOUT_PAGE && addr >> 47 == 0 &&
	       heap_memory_covers(maps, addr, JEMALLOC_LAYOUT_TABLE);
}

bool jemalloc_rtree_record(struct heap_memory *m, const struct jemalloc_layout *l, uint64_t entry,
                           bool fresh, struct jemalloc_record *ret)
{
	uint64_t words[JEMALLOC_LAYOUT_EDATA / 8], at = jemalloc_layout_pointer(l, entry);
	int r;

	if (at < JEMALLOC_LAYOUT_PAGE)
		return false;
	r = fresh ? heap_memory_fresh(m, at, words, sizeof(words))
	          : heap_memory_read(m, at, words, sizeof(words));
	return r == 0 && jemalloc_layout_record(l, words, ret);
}

struct votes {
	uint64_t index; /* of the leaf in the root; UINT64_MAX: not known yet */
	uint64_t skip;  /* entries below it are inside an extent that was asked */
	unsigned yes, no;
};

/* What entry @k of a leaf says under one layout. */
static void vote(struct heap_memory *m, const struct jemalloc_layout *l, uint64_t k, uint64_t entry,
                 struct votes *v)
{
	struct jemalloc_record r;
	uint64_t addr, index;

	if (k < v->skip)
		return;
	if (!jemalloc_rtree_record(m, l, entry, false, &r) ||
	    !jemalloc_layout_agrees(l, entry, &r)) {
		v->no++;
		return;
	}
	addr = r.start / LEAF_SPAN * LEAF_SPAN + k * JEMALLOC_LAYOUT_PAGE;
	if (addr < r.start)
		addr += LEAF_SPAN;
	index = addr / LEAF_SPAN;
	if (addr - r.start >= r.size || (v->index != UINT64_MAX && v->index != index)) {
		v->no++;
		return;
	}
	v->index = index;
	v->yes++;
	v->skip = k + (r.start + r.size - addr) / JEMALLOC_LAYOUT_PAGE;
}

/* By no layout a new extent begins at entry @k, which may be stale (the state is kept at both ends
 * of one): a heap whose blocks have been freed begins with thousands of these. */
static bool is_inside(const struct votes votes[JEMALLOC_N_LAYOUTS], uint64_t k)
{
	for (unsigned l = 0; l < JEMALLOC_N_LAYOUTS; l++) {
		if (k >= votes[l].skip)
			return false;
	}
	return true;
}

/* Of pages that extents were merged at, nothing is left but the class that stands for none
 * (emap_merge_commit(), 5.3): a heap of which little is in use may have tens of thousands, and
 * asking each would leave no vote for the extents. */
static bool is_cleared(uint64_t entry)
{
	for (unsigned l = 0; l < JEMALLOC_N_LAYOUTS; l++) {
		if (jemalloc_layout_pointer(&jemalloc_layout_all[l], entry))
			return false;
	}
	return true;
}

static int vote_leaf(struct jemalloc_rtree_search *s, uint64_t leaf,
                     struct votes votes[JEMALLOC_N_LAYOUTS])
{
	const uint64_t page = HEAP_MEMORY_PAGE, end = leaf + JEMALLOC_LAYOUT_TABLE;
	uint64_t words[8 * HEAP_MEMORY_PAGE / 8], pos = leaf / page * page, at;
	unsigned asked = 0;
	ssize_t n = 0;

	while (asked < VOTES && s->read_bytes < MAX_VOTE_BYTES &&
	       (n = heap_memory_next(s->m, &pos, (end + page - 1) / page * page, words,
	                             sizeof(words), &at)) > 0) {
		s->read_bytes += n;
		for (ssize_t i = 0; i < n / 8 && asked < VOTES; i++) {
			uint64_t place = at + 8 * i;

			if (is_cleared(words[i]) || place < leaf || place >= end ||
			    is_inside(votes, (place - leaf) / 8))
				continue;
			asked++;
			for (unsigned l = 0; l < JEMALLOC_N_LAYOUTS; l++)
				vote(s->m, &jemalloc_layout_all[l], (place - leaf) / 8, words[i],
				     &votes[l]);
			/* eight that nobody understands: no leaf */
			if (asked == 8 && !votes[0].yes && !votes[1].yes)
				return 0;
		}
	}
	return n < 0 ? n : 0;
}

/* Is the word at @place, @leaf, one of a root? */
static int try_leaf(struct jemalloc_rtree_search *s, const struct regions_data *d, uint64_t place,
                    uint64_t leaf, struct jemalloc_rtree *ret)
{
	struct votes votes[JEMALLOC_N_LAYOUTS] = { { UINT64_MAX, 0, 0, 0 },
		                                   { UINT64_MAX, 0, 0, 0 } };
	unsigned best = 0;
	uint64_t before;
	int r = vote_leaf(s, leaf, votes);

	if (r < 0)
		return r;
	for (unsigned l = 1; l < JEMALLOC_N_LAYOUTS; l++)
		if (votes[l].yes > votes[best].yes)
			best = l;
	if (votes[best].yes < ENOUGH || votes[best].yes < 4 * votes[best].no)
		return 0;
	before = 8 * votes[best].index;
	if (place - d->start < before || d->end - (place - before) < JEMALLOC_LAYOUT_TABLE)
		return 0;
	*ret = (struct jemalloc_rtree){ &jemalloc_layout_all[best], place - before, *d };
	return 1;
}

/* The metadata block that @addr is in, or 0: the nearest below that has the shape
 * of one. Each step of 2 MiB is looked at once in a search. */
static int find_block(struct jemalloc_rtree_search *s, uint64_t addr, uint64_t *ret_block,
                      struct error *err)
{
	const uint64_t step = JEMALLOC_LAYOUT_BLOCK;
	uint64_t first = addr / step, at = first, block = 0, words[5], size, next;
	const uint64_t *known = NULL;
	int r = 0;

	while (at && first - at < MAX_BLOCK_STEPS && !(known = hash_map_get(&s->blocks, at)) &&
	       heap_memory_covers(s->maps, at * step, step)) {
		if (heap_memory_fresh(s->m, at * step, words, sizeof(words)) == 0 &&
		    jemalloc_layout_base(at * step, words, &size, &next)) {
			block = at * step;
			break;
		}
		at--;
	}
	if (known)
		block = *known;
	for (uint64_t i = known ? at + 1 : at; r == 0 && i <= first; i++)
		r = hash_map_put(&s->blocks, i, block, err);
	*ret_block = block;
	return r;
}

/* Leaves are made in metadata: 1 @leaf can be one, 0 not, -ENOMEM. */
static int is_in_block(struct jemalloc_rtree_search *s, uint64_t leaf)
{
	uint64_t block, words[5], size, next;
	struct error err;
	int r = find_block(s, leaf, &block, &err);

	if (r < 0 || !block)
		return r;
	return heap_memory_read(s->m, block, words, sizeof(words)) == 0 &&
	       jemalloc_layout_base(block, words, &size, &next) &&
	       leaf + JEMALLOC_LAYOUT_TABLE <= block + size;
}

void jemalloc_rtree_search_clear(struct jemalloc_rtree_search *s)
{
	hash_map_clear(&s->blocks);
}

int jemalloc_rtree_find(struct jemalloc_rtree_search *s, const struct regions_data *d,
                        uint64_t *pos, struct jemalloc_rtree *ret)
{
	cleanup_free uint64_t *words = NULL;
	uint64_t at, seen = 0, last = 0;
	unsigned tries = 0;
	ssize_t n = 0;

	if (d->end - d->start < JEMALLOC_LAYOUT_TABLE)
		return 0;
	words = malloc(PIECE);
	if (!words)
		return -ENOMEM;
	while (seen < MAX_DATA &&
	       (n = heap_memory_next(s->m, pos, d->end, words, PIECE, &at)) > 0) {
		seen += n;
		for (ssize_t i = 0; i < n / 8; i++) {
			int r;

			if (!words[i] || words[i] == last || !is_leaf_place(s->maps, words[i]))
				continue;
			last = words[i];
			r = is_in_block(s, words[i]);
			if (r > 0 && tries++ < MAX_TRIES)
				r = try_leaf(s, d, at + 8 * i, words[i], ret);
			if (r > 0)
				*pos = (ret->root + JEMALLOC_LAYOUT_TABLE + HEAP_MEMORY_PAGE - 1) /
				       HEAP_MEMORY_PAGE * HEAP_MEMORY_PAGE;
			if (r)
				return r;
		}
	}
	return n < 0 ? n : 0;
}

struct walk {
	struct heap_memory *m;
	const struct maps *maps;
	uint64_t (*each)(const struct jemalloc_entry *e, void *arg);
	void *arg;
	uint64_t skip, bad;
	struct hash_map leaves; /* addresses in steps of a leaf's size: leaves are disjoint */
	uint64_t words[PIECE / 8];
};

static int walk_leaf(struct walk *w, uint64_t index, uint64_t leaf)
{
	const uint64_t page = HEAP_MEMORY_PAGE, end = leaf + JEMALLOC_LAYOUT_TABLE;
	uint64_t pos = leaf / page * page, at;
	ssize_t n = 0;

	while (w->skip != UINT64_MAX &&
	       (n = heap_memory_next(w->m, &pos, (end + page - 1) / page * page, w->words,
	                             sizeof(w->words), &at)) > 0) {
		for (ssize_t i = 0; i < n / 8; i++) {
			struct jemalloc_entry e = { .entry = w->words[i], .slot = at + 8 * i };

			if (!e.entry || e.slot < leaf || e.slot >= end)
				continue;
			e.addr = index * LEAF_SPAN + (e.slot - leaf) / 8 * JEMALLOC_LAYOUT_PAGE;
			if (e.addr < w->skip)
				continue;
			w->skip = w->each(&e, w->arg);
			if (w->skip == UINT64_MAX)
				return 0;
		}
	}
	return n < 0 ? n : 0;
}

/* A leaf is taken once, and only for addresses that are mapped at all. */
static bool is_new_leaf(struct walk *w, uint64_t index, uint64_t leaf, struct error *err)
{
	uint64_t start = index * LEAF_SPAN;
	size_t at;

	if (!is_leaf_place(w->maps, leaf) || hash_map_get(&w->leaves, leaf / JEMALLOC_LAYOUT_TABLE))
		return false;
	at = maps_first_behind(w->maps, start);
	return at < w->maps->n_items && w->maps->items[at].start < start + LEAF_SPAN &&
	       hash_map_put(&w->leaves, leaf / JEMALLOC_LAYOUT_TABLE, 1, err) == 0;
}

static void walk_clear(struct walk **w)
{
	if (*w)
		hash_map_clear(&(*w)->leaves);
	free(*w);
}

int jemalloc_rtree_walk(struct heap_memory *m, const struct maps *maps,
                        const struct jemalloc_rtree *t,
                        uint64_t (*each)(const struct jemalloc_entry *e, void *arg), void *arg,
                        uint64_t *ret_bad)
{
	const uint64_t page = HEAP_MEMORY_PAGE, end = t->root + JEMALLOC_LAYOUT_TABLE;
	cleanup(walk_clear) struct walk *w = calloc(1, sizeof(*w));
	uint64_t pos = t->root / page * page, at, words[HEAP_MEMORY_PAGE / 8];
	struct error err;
	ssize_t n = 0;
	int r = 0;

	if (!w)
		return -ENOMEM;
	*w = (struct walk){ .m = m, .maps = maps, .each = each, .arg = arg };
	while (r == 0 && (n = heap_memory_next(m, &pos, (end + page - 1) / page * page, words,
	                                       sizeof(words), &at)) > 0) {
		for (ssize_t i = 0; r == 0 && i < n / 8; i++) {
			uint64_t place = at + 8 * i;

			if (!words[i] || place < t->root || place >= end)
				continue;
			if (is_new_leaf(w, (place - t->root) / 8, words[i], &err))
				r = walk_leaf(w, (place - t->root) / 8, words[i]);
			else
				w->bad++;
		}
	}
	*ret_bad = w->bad;
	return r < 0 ? r : n < 0 ? n : 0;
}
