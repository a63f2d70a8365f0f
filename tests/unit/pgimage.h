/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Memory of a server that does not exist: contexts of every class, byte by byte
 * as the facts about PostgreSQL say (block and chunk layouts, 10 to 18). Shared
 * by the unit test and the fuzz target, which damages it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "runtime/postgres/pg_layout.h"

enum {
	PGIMAGE_BASE = 0x100000,
	PGIMAGE_BYTES = 8 * 4096,
	PGIMAGE_BIAS = 0x7000000,
	PGIMAGE_TABLES = 0x2000, /* vaddr of class 0's table */
};

enum pgimage_form {
	PGIMAGE_10, /* no ident, no mem_allocated, contexts apart from their blocks */
	PGIMAGE_11, /* ident */
	PGIMAGE_13, /* mem_allocated */
	PGIMAGE_16, /* chunk word, 3 id bits */
	PGIMAGE_17, /* 4 id bits, Bump */
	PGIMAGE_FORMS,
};

struct pgimage {
	uint8_t bytes[PGIMAGE_BYTES];
	uint64_t next; /* first free address */
	enum pgimage_form form;
	struct pg_methods methods;
	unsigned at_methods, header;
	uint64_t top, aset, generation, slab, bump; /* contexts */
};

static inline void pgimage_put(struct pgimage *i, uint64_t at, uint64_t value)
{
	memcpy(i->bytes + (at - PGIMAGE_BASE), &value, sizeof(value));
}

static inline void pgimage_put4(struct pgimage *i, uint64_t at, uint32_t value)
{
	memcpy(i->bytes + (at - PGIMAGE_BASE), &value, sizeof(value));
}

static inline uint64_t pgimage_get(const struct pgimage *i, uint64_t at)
{
	uint64_t value;

	memcpy(&value, i->bytes + (at - PGIMAGE_BASE), sizeof(value));
	return value;
}

static inline uint64_t pgimage_take(struct pgimage *i, uint64_t bytes)
{
	uint64_t at = i->next;

	i->next += (bytes + 7) & ~7ULL;
	return at;
}

static inline uint64_t pgimage_string(struct pgimage *i, const char *s)
{
	uint64_t at = pgimage_take(i, strlen(s) + 1);

	memcpy(i->bytes + (at - PGIMAGE_BASE), s, strlen(s) + 1);
	return at;
}

static inline bool pgimage_word(const struct pgimage *i)
{
	return i->form >= PGIMAGE_16;
}

/* The fields that all classes share; parent 0: the root. Becomes its last child. */
static inline void pgimage_context(struct pgimage *i, uint64_t at, enum pg_class c, uint64_t parent,
                                   const char *name, const char *ident)
{
	uint64_t fields = at + i->at_methods; /* methods parent first prev next name ident */
	uint64_t last = parent ? pgimage_get(i, parent + i->at_methods + 16) : 0;

	pgimage_put(i, fields, i->methods.tables[c].vaddr + PGIMAGE_BIAS);
	pgimage_put(i, fields + 8, parent);
	pgimage_put(i, fields + 40, pgimage_string(i, name));
	if (i->form >= PGIMAGE_11 && ident)
		pgimage_put(i, fields + 48, pgimage_string(i, ident));
	if (parent && !last)
		pgimage_put(i, parent + i->at_methods + 16, at);
	while (last && pgimage_get(i, last + i->at_methods + 32))
		last = pgimage_get(i, last + i->at_methods + 32);
	if (last) {
		pgimage_put(i, last + i->at_methods + 32, at);
		pgimage_put(i, fields + 24, last);
	}
}

static inline unsigned pgimage_index(enum pg_class c)
{
	static const unsigned ids[] = { [PG_ALLOCSET] = 3,
		                        [PG_GENERATION] = 4,
		                        [PG_SLAB] = 5,
		                        [PG_ALIGNED] = 6,
		                        [PG_BUMP] = 7 };

	return ids[c];
}

/* The word before a chunk (16+): id, external, value, offset of the block. */
static inline uint64_t pgimage_header(const struct pgimage *i, enum pg_class c, bool external,
                                      uint64_t value, uint64_t offset)
{
	unsigned bits = i->methods.id_bits;

	return pgimage_index(c) | (uint64_t)external << bits | value << (bits + 1) | offset << 34;
}

/* ---- AllocSet: blocks of 1024 bytes, the first behind the struct (11+) ---- */

static inline uint64_t pgimage_aset_block(struct pgimage *i, uint64_t ctx, uint64_t at,
                                          uint64_t bytes)
{
	uint64_t first = pgimage_get(i, ctx + i->header);

	pgimage_put(i, at, ctx);
	pgimage_put(i, at + 16, first);
	if (first)
		pgimage_put(i, first + 8, at);
	pgimage_put(i, ctx + i->header, at);
	pgimage_put(i, at + 24, at + 40);
	pgimage_put(i, at + 32, at + bytes);
	if (i->form >= PGIMAGE_13)
		pgimage_put(i, ctx + 8, pgimage_get(i, ctx + 8) + bytes);
	return at;
}

static inline uint64_t pgimage_aset(struct pgimage *i, uint64_t parent, const char *name,
                                    const char *ident)
{
	unsigned node = i->header + 8 + 88 + 24;
	uint64_t ctx = pgimage_take(i, node);
	uint64_t block = pgimage_take(i, i->form == PGIMAGE_10 ? 1088 : 1024);

	if (i->form == PGIMAGE_10)
		block += 64;
	pgimage_aset_block(i, ctx, block, 1024);
	if (i->form >= PGIMAGE_13)
		pgimage_put(i, ctx + 8, 1024 + node);
	pgimage_context(i, ctx, PG_ALLOCSET, parent, name, ident);
	return ctx;
}

/* A chunk of 8 << exponent bytes in the newest block; returns the pointer. */
static inline uint64_t pgimage_aset_chunk(struct pgimage *i, uint64_t ctx, unsigned exponent)
{
	uint64_t block = pgimage_get(i, ctx + i->header), at = pgimage_get(i, block + 24);
	uint64_t bytes = 8ULL << exponent, p;

	if (pgimage_word(i)) {
		p = at + 8;
		pgimage_put(i, at, pgimage_header(i, PG_ALLOCSET, false, exponent, at - block));
	} else {
		p = at + 16;
		pgimage_put(i, at, bytes);
		pgimage_put(i, at + 8, ctx);
	}
	pgimage_put(i, block + 24, p + bytes);
	return p;
}

static inline void pgimage_aset_free(struct pgimage *i, uint64_t ctx, uint64_t p, unsigned exponent)
{
	uint64_t list = ctx + i->header + 8 + 8 * exponent;
	uint64_t chunk = pgimage_word(i) ? p - 8 : p - 16;

	pgimage_put(i, chunk + 8, pgimage_get(i, list));
	pgimage_put(i, list, chunk);
}

/* A block of its own for one chunk of @bytes. */
static inline uint64_t pgimage_aset_large(struct pgimage *i, uint64_t ctx, uint64_t bytes)
{
	unsigned head = 40 + (pgimage_word(i) ? 8 : 16);
	uint64_t at = pgimage_take(i, head + bytes);

	pgimage_aset_block(i, ctx, at, head + bytes);
	pgimage_put(i, at + 24, at + head + bytes);
	if (pgimage_word(i)) {
		pgimage_put(i, at + 40, pgimage_header(i, PG_ALLOCSET, true, 0x1234, 0));
	} else {
		pgimage_put(i, at + 40, bytes);
		pgimage_put(i, at + 48, ctx);
	}
	return at + head;
}

/* ---- Generation: one block, @n chunks of @bytes, the first freed ---- */

static inline void pgimage_list(struct pgimage *i, uint64_t head, uint64_t node)
{
	pgimage_put(i, head, node ? node : head);
	pgimage_put(i, head + 8, node ? node : head);
	if (node) {
		pgimage_put(i, node, head);
		pgimage_put(i, node + 8, head);
	}
}

static inline uint64_t pgimage_generation(struct pgimage *i, uint64_t parent, unsigned n,
                                          unsigned bytes)
{
	static const unsigned list[] = { 0, 16, 16, 56, 32 };
	unsigned own = pgimage_word(i), head = own ? 56 : 48, chunk = own ? 8 : 24;
	uint64_t ctx = pgimage_take(i, i->header + list[i->form] + 16);
	uint64_t block = pgimage_take(i, 1024), at = block + head;

	pgimage_list(i, ctx + i->header + list[i->form], block);
	for (unsigned k = 0; k < n; k++, at += chunk + bytes) {
		if (own) {
			pgimage_put(i, at,
			            pgimage_header(i, PG_GENERATION, false, bytes, at - block));
			continue;
		}
		pgimage_put(i, at, bytes);
		pgimage_put(i, at + 8, block);
		pgimage_put(i, at + 16, k ? ctx : 0);
	}
	if (own)
		pgimage_put(i, block + 16, ctx);
	pgimage_put(i, block + 16 + 8 * own, 1024);
	pgimage_put(i, block + 24 + 8 * own, n | 1ULL << 32);
	pgimage_put(i, block + 32 + 8 * own, at);
	pgimage_put(i, block + 40 + 8 * own, block + 1024);
	if (i->form >= PGIMAGE_13)
		pgimage_put(i, ctx + 8, 1024);
	pgimage_context(i, ctx, PG_GENERATION, parent, "generation", NULL);
	return ctx;
}

/* ---- Slab: one block of 8 chunks of 64 bytes (stride), 3 free ---- */

static inline uint64_t pgimage_old_slab(struct pgimage *i, uint64_t parent)
{
	unsigned extra = i->form == PGIMAGE_10 ? 0 : 8;
	uint64_t ctx = pgimage_take(i, i->header + 40 + extra + 9 * 16), own = ctx + i->header;
	uint64_t block = pgimage_take(i, 24 + 8 * 64);

	pgimage_put(i, own, 48);
	pgimage_put(i, own + 8, 64);
	pgimage_put(i, own + 16, 24 + 8 * 64);
	if (extra)
		pgimage_put(i, own + 24, i->header + 40 + extra + 9 * 16);
	pgimage_put4(i, own + 24 + extra, 8);
	for (unsigned k = 0; k <= 8; k++)
		pgimage_list(i, own + 40 + extra + k * 16, k == 3 ? block : 0);
	pgimage_put4(i, block + 16, 3);
	for (unsigned k = 0; k < 8; k++) {
		pgimage_put(i, block + 24 + k * 64, block);
		pgimage_put(i, block + 32 + k * 64, ctx);
	}
	pgimage_context(i, ctx, PG_SLAB, parent, "slab", NULL);
	return ctx;
}

static inline uint64_t pgimage_slab(struct pgimage *i, uint64_t parent)
{
	unsigned size = i->form == PGIMAGE_16 ? 8 : 4; /* of the parameters */
	unsigned at_empty = (3 * size + 12 + 7) & ~7u;
	uint64_t ctx = pgimage_take(i, i->header + at_empty + 24 + 48), own = ctx + i->header;
	uint64_t block = pgimage_take(i, 48 + 8 * 64);

	pgimage_put4(i, own, 56);
	pgimage_put4(i, own + size, 64);
	pgimage_put4(i, own + 2 * size, 48 + 8 * 64);
	pgimage_put4(i, own + 3 * size, 8);
	pgimage_list(i, own + at_empty, 0);
	for (unsigned k = 0; k < 3; k++)
		pgimage_list(i, own + at_empty + 24 + 16 * k, k == 1 ? block + 32 : 0);
	pgimage_put(i, block, ctx);
	pgimage_put4(i, block + 8, 3);
	pgimage_put4(i, block + 12, 2);
	pgimage_put(i, block + 24, block + 48 + 6 * 64); /* two were never given out */
	for (unsigned k = 0; k < 6; k++)
		pgimage_put(i, block + 48 + k * 64,
		            pgimage_header(i, PG_SLAB, false, 56, 48 + k * 64));
	pgimage_context(i, ctx, PG_SLAB, parent, "slab", NULL);
	return ctx;
}

/* ---- Bump: one block, 100 bytes given out ---- */

static inline uint64_t pgimage_bump(struct pgimage *i, uint64_t parent)
{
	uint64_t ctx = pgimage_take(i, i->header + 32), block = pgimage_take(i, 512);

	pgimage_list(i, ctx + i->header + 16, block);
	pgimage_put(i, block + 16, block + 32 + 104);
	pgimage_put(i, block + 24, block + 512);
	pgimage_context(i, ctx, PG_BUMP, parent, "bump", NULL);
	return ctx;
}

/* Fill @i: a root with chunks, a table of a hash, and one context of each class. */
static inline void pgimage_make(struct pgimage *i, enum pgimage_form form)
{
	uint64_t p;

	*i = (struct pgimage){ .next = PGIMAGE_BASE, .form = form };
	i->at_methods = form >= PGIMAGE_13 ? 16 : 8;
	i->header = form >= PGIMAGE_13 ? 80 : form == PGIMAGE_11 ? 72 : 64;
	i->methods.chunk_word = pgimage_word(i);
	i->methods.has_init = form == PGIMAGE_10;
	i->methods.id_bits = form == PGIMAGE_16 ? 3 : 4;
	for (unsigned c = 0; c < PG_N_CLASSES; c++)
		i->methods.tables[c] = (struct pg_table){ .found = true,
			                                  .vaddr = PGIMAGE_TABLES + c * 72,
			                                  .index = pgimage_index(c) };
	i->top = pgimage_aset(i, 0, "TopMemoryContext", NULL);
	pgimage_aset_chunk(i, i->top, 1);
	p = pgimage_aset_chunk(i, i->top, 4);
	pgimage_aset_chunk(i, i->top, 5);
	pgimage_aset_free(i, i->top, p, 4);
	pgimage_aset_large(i, i->top, 2000);
	i->aset = pgimage_aset(i, i->top, "dynahash", "a hash\ttable");
	pgimage_aset_chunk(i, i->aset, 3);
	if (form != PGIMAGE_10)
		i->generation = pgimage_generation(i, i->aset, 4, 96);
	i->slab = pgimage_word(i) ? pgimage_slab(i, i->aset) : pgimage_old_slab(i, i->top);
	if (form == PGIMAGE_17)
		i->bump = pgimage_bump(i, i->top);
}
