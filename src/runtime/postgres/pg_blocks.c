/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	WORD = 8,
	MAX_BLOCKS = 1 << 22,
	MAX_NODE = 1024,
	MAX_SLAB_CHUNKS = 1 << 20,
	OLD_GENERATION_HEADER = 48,
	GENERATION_HEADER = 56,
	BUMP_HEADER = 32,
	OLD_SLAB_HEADER = 24,
	SLAB_HEADER = 48,
	SLAB_LISTS = 3,
	DCLIST_BYTES = 24, /* prev, next, count */
	DLIST_BYTES = 16,
};

struct reading {
	struct pg_memory *m;
	const struct pg_layout *l;
	uint64_t ctx;
	struct pg_blocks *b;
	struct error *err;
};

void pg_blocks_clear(struct pg_blocks *b)
{
	free(b->items);
	*b = (struct pg_blocks){ 0 };
}

static int torn(struct reading *r, const char *why)
{
	r->b->torn = why;
	return -EAGAIN;
}

static int add_block(struct reading *r, const struct pg_block *block)
{
	int e;

	if (block->end < block->data || block->fill > block->end || block->fill < block->data)
		return torn(r, "block bounds");
	if (r->b->n >= MAX_BLOCKS)
		return torn(r, "too many blocks");
	e = array_reserve(&r->b->items, &r->b->cap, r->b->n + 1, r->err);
	if (e < 0)
		return e;
	r->b->items[r->b->n++] = *block;
	return 0;
}

/* ---- AllocSet ---- */

static int aset_blocks(struct reading *r, uint64_t *sum)
{
	uint64_t block = pg_memory_word(r->m, r->ctx + r->l->header), prev = 0;

	while (block) {
		uint64_t w[5]; /* owner prev next free end */
		struct pg_block b;
		int e;

		if (pg_memory_read(r->m, block, w, sizeof(w)) < 0 || w[0] != r->ctx)
			return torn(r, "AllocSet block's owner");
		if (w[1] != prev)
			return torn(r, "AllocSet block's link");
		b = (struct pg_block){ .address = block,
			               .data = block + PG_ALLOCSET_BLOCK_HEADER,
			               .fill = w[3],
			               .end = w[4] };
		e = add_block(r, &b);
		if (e < 0)
			return e;
		*sum += b.end - block;
		/* the first block follows the context's struct in one piece of memory; 10,
		 * which has an "init" method, keeps structs in TopMemoryContext */
		if (!r->l->methods.has_init && block > r->ctx && block - r->ctx < MAX_NODE)
			r->b->node_bytes = block - r->ctx;
		prev = block;
		block = w[2];
	}
	return 0;
}

static int aset_freelist(struct reading *r, unsigned list, uint64_t most_bytes)
{
	const uint64_t bytes = (uint64_t)PG_FREELIST_MIN << list;
	uint64_t at = r->ctx + r->l->header + WORD + (uint64_t)list * WORD;
	uint64_t chunk = pg_memory_word(r->m, at), seen = 0;

	while (chunk) {
		uint64_t w[2]; /* old: size, next; chunk word: word, next */

		/* a list longer than the context is a loop */
		seen += bytes;
		if (seen > most_bytes)
			return torn(r, "free list's length");
		if (pg_memory_read(r->m, chunk, w, sizeof(w)) < 0)
			return torn(r, "free list");
		if (!r->l->methods.chunk_word && w[0] != bytes)
			return torn(r, "free chunk's size");
		r->b->free_chunks++;
		r->b->free_bytes += bytes + r->l->chunk_header;
		chunk = w[1];
	}
	return 0;
}

static int read_aset(struct reading *r)
{
	uint64_t sum = 0;
	int e = aset_blocks(r, &sum);

	if (e < 0)
		return e;
	for (unsigned i = 0; i < PG_ALLOCSET_FREELISTS; i++) {
		e = aset_freelist(r, i, sum);
		if (e < 0)
			return e;
	}
	r->b->block_header = PG_ALLOCSET_BLOCK_HEADER;
	if (r->l->at_mem_allocated &&
	    pg_memory_word(r->m, r->ctx + r->l->at_mem_allocated) != sum + r->b->node_bytes)
		return torn(r, "AllocSet's mem_allocated");
	return 0;
}

/* ---- doubly linked lists (lib/ilist.h): head { prev, next } ---- */

static bool list_closes(struct reading *r, uint64_t head)
{
	uint64_t w[2];

	return pg_memory_read(r->m, head, w, sizeof(w)) == 0 && w[0] && w[1] &&
	       pg_memory_word(r->m, w[1]) == head && pg_memory_word(r->m, w[0] + WORD) == head;
}

/* Each node of the list at @head; an uninitialised one is empty. */
static int each_node(struct reading *r, uint64_t head, int (*fn)(struct reading *r, uint64_t node))
{
	uint64_t prev = head, node = pg_memory_word(r->m, head + WORD);

	for (unsigned n = 0; node && node != head; n++) {
		uint64_t w[2];
		int e;

		if (n > MAX_BLOCKS)
			return torn(r, "endless list of blocks");
		if (pg_memory_read(r->m, node, w, sizeof(w)) < 0 || w[0] != prev)
			return torn(r, "block's link");
		e = fn(r, node);
		if (e < 0)
			return e;
		prev = node;
		node = w[1];
	}
	return 0;
}

/* ---- Generation ---- */

static int generation_block(struct reading *r, uint64_t node)
{
	bool owned = r->l->methods.chunk_word; /* has an owner word since 16 */
	uint64_t w[8];
	const uint64_t *f = w + 2 + owned; /* blksize, nchunks|nfree, freeptr, endptr */
	struct pg_block b;

	if (pg_memory_read(r->m, node, w, sizeof(w)) < 0 || (owned && w[2] != r->ctx))
		return torn(r, "Generation block's owner");
	b = (struct pg_block){ .address = node,
		               .data = node + r->b->block_header,
		               .fill = f[2],
		               .end = f[3],
		               .n_chunks = (uint32_t)f[1],
		               .n_free = (uint32_t)(f[1] >> 32) };
	if (b.end - node != f[0])
		return torn(r, "Generation block's size");
	return add_block(r, &b);
}

/* Offset of the list in the class's own fields: 11-14, 15-16, 17+. */
static int read_generation(struct reading *r)
{
	static const unsigned at[] = { 16, 56, 32 };

	r->b->block_header = r->l->methods.chunk_word ? GENERATION_HEADER : OLD_GENERATION_HEADER;
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		uint64_t head = r->ctx + r->l->header + at[i];

		if (!list_closes(r, head))
			continue;
		r->b->node_bytes = r->l->header + at[i] + DLIST_BYTES;
		return each_node(r, head, generation_block);
	}
	return torn(r, "Generation's list of blocks");
}

/* ---- Bump ---- */

static int bump_block(struct reading *r, uint64_t node)
{
	uint64_t w[4];
	struct pg_block b;

	if (pg_memory_read(r->m, node, w, sizeof(w)) < 0)
		return torn(r, "Bump block");
	b = (struct pg_block){
		.address = node, .data = node + BUMP_HEADER, .fill = w[2], .end = w[3]
	};
	return add_block(r, &b);
}

static int read_bump(struct reading *r)
{
	uint64_t head = r->ctx + r->l->header + 16;

	r->b->block_header = BUMP_HEADER;
	if (!list_closes(r, head))
		return torn(r, "Bump's list of blocks");
	return each_node(r, head, bump_block);
}

/* ---- Slab ---- */

/* Chunks fill a block but for less than one chunk. */
static bool slab_fits(const struct pg_blocks *b)
{
	uint64_t data = b->block_bytes - b->block_header;

	return b->chunk_stride >= 2 * WORD && b->block_bytes < 1u << 30 &&
	       b->block_bytes > b->block_header && b->chunks_per_block &&
	       b->chunks_per_block <= MAX_SLAB_CHUNKS &&
	       b->chunk_stride * b->chunks_per_block <= data &&
	       data < b->chunk_stride * (b->chunks_per_block + 1) + MAX_NODE;
}

/* @unused: 16+ fills a block from its start; 0: not known. */
static int slab_block(struct reading *r, uint64_t address, uint32_t n_free, uint64_t unused)
{
	struct pg_block b = { .address = address,
		              .data = address + r->b->block_header,
		              .n_chunks = r->b->chunks_per_block,
		              .n_free = n_free };

	if (n_free > r->b->chunks_per_block)
		return torn(r, "Slab block's count");
	b.end = b.data + r->b->chunks_per_block * r->b->chunk_stride;
	b.fill = unused ? unused : b.end;
	return add_block(r, &b);
}

static int old_slab_node(struct reading *r, uint64_t node)
{
	return slab_block(r, node, (uint32_t)pg_memory_word(r->m, node + 2 * WORD), 0);
}

/* 10: chunk, full, block, perblock|.. ; 11-15: + header size before perblock */
static int read_old_slab(struct reading *r)
{
	for (unsigned extra = 0; extra <= WORD; extra += WORD) {
		uint64_t own = r->ctx + r->l->header, w[6], lists = own + 40 + extra;

		if (pg_memory_read(r->m, own, w, sizeof(w)) < 0)
			break;
		r->b->chunk_stride = w[1];
		r->b->block_bytes = w[2];
		r->b->node_bytes = extra ? w[3] : 0;
		r->b->chunks_per_block = (uint32_t)w[extra ? 4 : 3];
		r->b->block_header = OLD_SLAB_HEADER;
		if (!slab_fits(r->b) || !list_closes(r, lists))
			continue;
		/* one list for each number of free chunks */
		for (uint64_t i = 0; i <= r->b->chunks_per_block; i++) {
			int e = each_node(r, lists + i * DLIST_BYTES, old_slab_node);

			if (e < 0)
				return e;
		}
		return 0;
	}
	return torn(r, "Slab's parameters");
}

static int slab_node(struct reading *r, uint64_t node)
{
	uint64_t address = node - 4 * WORD, w[4]; /* owner, nfree|nunused, freehead, unused */

	if (pg_memory_read(r->m, address, w, sizeof(w)) < 0 || w[0] != r->ctx)
		return torn(r, "Slab block's owner");
	return slab_block(r, address, (uint32_t)w[1], w[3]);
}

/* Parameters as words of @size bytes: 4 (17+) or 8 (16); then perblock, two
 * indexes and the list of empty blocks. Its address, 0: does not fit. */
static uint64_t slab_parameters(struct reading *r, unsigned size)
{
	uint64_t own = r->ctx + r->l->header, w[4], empty;
	uint32_t narrow[8]; /* chunk, full, block, perblock */

	if (pg_memory_read(r->m, own, narrow, sizeof(narrow)) < 0)
		return 0;
	memcpy(w, narrow, sizeof(w));
	r->b->chunk_stride = size == WORD ? w[1] : narrow[1];
	r->b->block_bytes = size == WORD ? w[2] : narrow[2];
	r->b->chunks_per_block = narrow[size == WORD ? 6 : 3];
	empty = (own + 3 * size + 3 * 4 + WORD - 1) & ~(uint64_t)(WORD - 1);
	return slab_fits(r->b) && list_closes(r, empty + DCLIST_BYTES) ? empty : 0;
}

static int read_slab(struct reading *r)
{
	uint64_t empty, lists;

	r->b->block_header = SLAB_HEADER;
	empty = slab_parameters(r, 4);
	if (!empty)
		empty = slab_parameters(r, WORD);
	if (!empty)
		return torn(r, "Slab's parameters");
	lists = empty + DCLIST_BYTES;
	r->b->empty_blocks = (uint32_t)pg_memory_word(r->m, empty + 2 * WORD);
	if (r->b->empty_blocks > MAX_BLOCKS)
		return torn(r, "Slab's empty blocks");
	r->b->node_bytes = lists + SLAB_LISTS * DLIST_BYTES - r->ctx;
	for (unsigned i = 0; i < SLAB_LISTS; i++) {
		int e = each_node(r, lists + (uint64_t)i * DLIST_BYTES, slab_node);

		if (e < 0)
			return e;
	}
	return 0;
}

int pg_blocks_read(struct pg_memory *m, const struct pg_layout *l, enum pg_class c, uint64_t ctx,
                   struct pg_blocks *b, struct error *err)
{
	struct reading r = { m, l, ctx, b, err };

	*b = (struct pg_blocks){ .items = b->items, .cap = b->cap };
	switch (c) {
	case PG_ALLOCSET: return read_aset(&r);
	case PG_GENERATION: return read_generation(&r);
	case PG_BUMP: return read_bump(&r);
	case PG_SLAB: return l->methods.chunk_word ? read_slab(&r) : read_old_slab(&r);
	default: return torn(&r, "class without blocks");
	}
}
