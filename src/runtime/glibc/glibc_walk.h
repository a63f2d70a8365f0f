/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * From chunk to chunk through an area of glibc's malloc: what is in use, what is
 * free, what malloc_trim(0) would give back, and which live bytes keep the rest.
 * Only headers are looked at; memory is read in pieces of 1 MiB, never whole.
 * The surprising rule: glibc counts a chunk in a fastbin or in a thread's cache
 * as used; which ones are in fastbins must be known before the walk (@fast).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/glibc/glibc_arena.h"
#include "runtime/peek.h"

/* A chunk's header bits (malloc.c): the size's low three. */
enum { GLIBC_WALK_PREV_INUSE = 1, GLIBC_WALK_IS_MMAPPED = 2, GLIBC_WALK_NON_MAIN = 4 };

enum glibc_walk_state { GLIBC_WALK_USED, GLIBC_WALK_FREE, GLIBC_WALK_FAST, GLIBC_WALK_TOP };

struct glibc_walk_chunk {
	uint64_t at, bytes; /* the chunk, header included; its block starts at + 16 */
	enum glibc_walk_state state;
};

/* Sums over areas: a caller may walk many into one. All but chunks in bytes. */
struct glibc_walk_sum {
	uint64_t chunks, walked, used, free, fast, top;
	uint64_t trim;                     /* resident, and would go back */
	uint64_t pinned_free, pinned_live; /* on resident pages that hold both */
	uint64_t checked, inconsistent;
};

struct glibc_walk {
	struct peek *peek;
	const struct maps *maps;
	unsigned shift;
	struct glibc_arena *arena;
	const uint64_t *fast; /* chunks in fastbins, ascending */
	size_t n_fast;
	bool trim_top;      /* the arena's top would be trimmed: main arena only */
	uint64_t trim_page; /* what trimming the top rounds to */
	/* May be NULL. Returns false to end the walk. A chunk may be seen twice when a
	 * piece has to be read again. */
	bool (*visit)(void *ctx, const struct glibc_walk_chunk *c);
	void *ctx;
};

/* Adds to *sum. Returns how far it came: area->end when all is well. -ENOMEM (negative). */
int glibc_walk_area(const struct glibc_walk *w, const struct glibc_area *area,
                    struct glibc_walk_sum *sum, uint64_t *ret_end, struct error *err);
