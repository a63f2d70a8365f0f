/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_layout.h"

#include <string.h>

/*
 * e_bits from bit 0: arena (12), slab, committed, then
 * 5.3: pai, zeroed, guarded, state (3), szind (8), nfree (10), shard (6), head
 * 5.2: dumpable, zeroed, state (2), szind (8), nfree (10), shard (6)
 */
const struct jemalloc_layout jemalloc_layout_all[JEMALLOC_N_LAYOUTS] = {
	{ "jemalloc 5.3", 17, 3, 20, 28, 7, true, true },
	{ "jemalloc 5.2", 16, 2, 18, 26, 6, false, false },
};

enum { ARENA_BITS = 12, SLAB_BIT = 12, CLASS_BITS = 8, FREE_BITS = 10, MAX_REGIONS = 512 };

static uint64_t bits(uint64_t word, unsigned at, unsigned n)
{
	return word >> at & ((1ull << n) - 1);
}

/* sc.h: 8, then 16, 32, 48, 64, then four steps to each doubling. */
uint64_t jemalloc_layout_class_bytes(unsigned size_class)
{
	unsigned group, step;

	if (size_class == 0)
		return 8;
	if (size_class <= 4)
		return 16ull * size_class;
	if (size_class >= JEMALLOC_LAYOUT_CLASSES)
		return 0;
	group = (size_class - 5) / 4;
	step = (size_class - 5) % 4;
	return (64ull << group) + (16ull << group) * (step + 1);
}

bool jemalloc_layout_record(const struct jemalloc_layout *l, const uint64_t words[16],
                            struct jemalloc_record *ret)
{
	const uint64_t page = JEMALLOC_LAYOUT_PAGE;

	*ret = (struct jemalloc_record){
		.start = words[1] & ~(page - 1),
		.size = words[2] & ~(page - 1),
		.arena = bits(words[0], 0, ARENA_BITS),
		.size_class = bits(words[0], l->class_at, CLASS_BITS),
		.n_free = bits(words[0], l->free_at, FREE_BITS),
		.state = bits(words[0], l->state_at, l->state_bits),
		.slab = bits(words[0], SLAB_BIT, 1),
	};
	memcpy(ret->bitmap, words + 8, sizeof(ret->bitmap));
	if (!ret->start || !ret->size || ret->start + ret->size < ret->start ||
	    ret->start + ret->size > 1ull << 47)
		return false;
	if (ret->state > JEMALLOC_PASSING + 1 || ret->size_class > JEMALLOC_LAYOUT_CLASSES)
		return false;
	if (ret->state != JEMALLOC_ACTIVE)
		return true;
	if (ret->slab)
		return ret->size_class < JEMALLOC_LAYOUT_SMALL && jemalloc_layout_regions(ret);
	/* a large one: its class fits in its pages (a sampled small one, too) */
	return ret->size_class < JEMALLOC_LAYOUT_CLASSES &&
	       jemalloc_layout_class_bytes(ret->size_class) <= ret->size;
}

bool jemalloc_layout_base(uint64_t at, const uint64_t words[5], uint64_t *ret_size,
                          uint64_t *ret_next)
{
	uint64_t size = words[0], next = words[1], rest = words[3], rest_bytes = words[4];

	if (!size || size % JEMALLOC_LAYOUT_BLOCK || size >> 47 || next % JEMALLOC_LAYOUT_BLOCK ||
	    next >> 47 || rest < at + 5 * 8 || rest > at + size || rest + rest_bytes != at + size)
		return false;
	*ret_size = size;
	*ret_next = next;
	return true;
}

uint64_t jemalloc_layout_pointer(const struct jemalloc_layout *l, uint64_t entry)
{
	return (entry & ((1ull << 47) - 1)) >> l->leaf_low_bits << l->leaf_low_bits;
}

bool jemalloc_layout_agrees(const struct jemalloc_layout *l, uint64_t entry,
                            const struct jemalloc_record *r)
{
	if (l->leaf_has_state && bits(entry, 2, 3) != r->state)
		return false;
	if (r->state != JEMALLOC_ACTIVE)
		return true;
	return bits(entry, 48, 8) == r->size_class && (entry & 1) == r->slab;
}

unsigned jemalloc_layout_regions(const struct jemalloc_record *r)
{
	uint64_t n = r->size / jemalloc_layout_class_bytes(r->size_class);

	return n <= MAX_REGIONS ? n : 0;
}

bool jemalloc_layout_counts(const struct jemalloc_record *r)
{
	unsigned n = jemalloc_layout_regions(r), n_free = 0;

	for (unsigned i = 0; i < n; i++)
		n_free += r->bitmap[i / 64] >> i % 64 & 1;
	return n_free == r->n_free;
}
