/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* mallocng's structures, read and checked one by one. */

#include "runtime/peek.h"
#include "runtime/regions.h"

struct musl_meta_context {
	uint64_t at, secret;
	uint64_t first_area;
	uint64_t spare_areas; /* reserved for more */
	uint64_t n_spare;
};

/* One group of equal slots. */
struct musl_meta_group {
	uint64_t meta, mem;
	uint64_t stride;
	uint64_t bytes;  /* header and slots */
	uint64_t mapped; /* its own mapping, in bytes; 0: inside another group, or donated */
	uint32_t free;   /* slots, as bits: freed, or never used */
	unsigned n_slots;
};

struct musl_meta_block {
	uint64_t start, size; /* as it was asked for */
	bool is_group;        /* holds another group: none of the program's */
};

/* The next context behind *pos (modules); 1 found, 0 none, -ENOMEM. */
int musl_meta_next(struct peek *p, const struct regions_input *in, const char *exe, size_t *pos,
                   struct musl_meta_context *ret, struct error *err);

enum {
	MUSL_META_SLOTS = 101, /* struct meta in a page */
	MUSL_META_PAGE = 4096,
	MUSL_META_HEADER = 16, /* of a group, in front of its slots */
};
struct musl_meta_area {
	uint64_t next;
	uint8_t bytes[MUSL_META_PAGE];
};
/* false: not there, or without the secret. */
bool musl_meta_read_area(struct peek *p, const struct musl_meta_context *c, uint64_t at,
                         struct musl_meta_area *ret);
/* Slot @i of the area at @at: 1 a group; 0 not used; -1 contradicts itself; -2 is a group by
 * itself (filled), but not there: it must lead back, and lie in one writable mapping. */
int musl_meta_group(struct peek *p, const struct maps *m, const struct musl_meta_area *a,
                    uint64_t at, unsigned i, struct musl_meta_group *ret);
/* The block in slot @i, which is in use; false: its header contradicts. */
bool musl_meta_block(struct peek *p, const struct musl_meta_group *g, unsigned i,
                     struct musl_meta_block *ret);
