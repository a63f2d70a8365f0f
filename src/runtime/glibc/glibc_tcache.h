/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The caches that each thread of glibc keeps in front of the arenas (tcache,
 * since 2.26). The surprising rule: up to 2.41 the struct counts what a bin
 * holds, since 2.42 how many more it may take.
 */

#include "runtime/glibc/glibc_lists.h"

enum glibc_tcache_form {
	GLIBC_TCACHE_BYTE,  /* 2.26 to 2.29: 64 counts of a byte */
	GLIBC_TCACHE_SHORT, /* 2.30 to 2.41: 64 of two bytes */
	GLIBC_TCACHE_SLOTS, /* since 2.42: 76 numbers of slots left */
};

struct glibc_tcache {
	uint64_t at; /* the struct; the block of a chunk */
	enum glibc_tcache_form form;
	uint16_t fill; /* SLOTS: what an empty bin may take */
	bool empty;
};

struct glibc_tcaches {
	struct glibc_tcache *items;
	size_t n, cap;
};
void glibc_tcache_clear(struct glibc_tcaches *t); /* usable with cleanup() */

/* Can a chunk of that many bytes hold one? */
bool glibc_tcache_fits(uint64_t chunk_bytes);
/* Does the chunk hold one? Every head must be a chunk of its bin's class. */
bool glibc_tcache_parse(struct peek *p, const struct maps *m, uint64_t chunk, uint64_t bytes,
                        struct glibc_tcache *ret);
void glibc_tcache_vote(struct peek *p, const struct maps *m, const struct glibc_tcache *t,
                       struct glibc_lists_votes *v);
/* Its chunks into @to (not sorted), their bytes into bytes_of_arena[] (all->n of them); those of
 * a list that is torn count for arena @own, in which the cache's own chunk is. */
int glibc_tcache_chunks(struct peek *p, const struct glibc_arenas *all,
                        const struct glibc_tcache *t, size_t own, bool mangled,
                        struct glibc_lists_set *to, uint64_t *bytes_of_arena, uint64_t *checked,
                        uint64_t *inconsistent, struct error *err);
