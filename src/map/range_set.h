/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The mapped ranges of one process, each byte with who asked for it: a sorted,
 * disjoint set that is cut at the boundaries of every operation and joined
 * again where both sides have the same owner. The surprising rule: it does what
 * it is told. Inserting over ranges replaces them, removing what is not there
 * is nothing; what is true is for the tracer to know (/proc/PID/maps).
 *
 * A hundred thousand operations a second on as many ranges are usual, so it is
 * a list of small sorted arrays.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum range_kind {
	RANGE_MMAP,    /* anonymous */
	RANGE_FILE,    /* a file's */
	RANGE_SHARED,  /* anonymous, MAP_SHARED */
	RANGE_SHM,     /* shmat */
	RANGE_BRK,     /* the heap of brk */
	RANGE_STACK,   /* the main thread's, or MAP_GROWSDOWN */
	RANGE_MREMAP,  /* new bytes of mremap */
	RANGE_KERNEL,  /* made by the kernel: vdso, stack growth unseen, exec */
	RANGE_UNKNOWN, /* found in the maps, nobody saw it being made */
	RANGE_KINDS,
};

enum range_flags {
	RANGE_BEFORE_ATTACH = 1,
	RANGE_UNCERTAIN = 2, /* events were lost around it: the owner may be another */
	RANGE_GROWS_DOWN = 4,
	RANGE_NO_FORK = 8, /* MADV_DONTFORK: a child does not get it */
};

struct range_owner {
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint32_t stack;   /* id of the stack; 0: none */
	uint32_t tid;
	uint8_t kind;   /* enum range_kind */
	uint8_t prot;   /* enum maps_prot */
	uint16_t flags; /* enum range_flags */
};

struct range {
	uint64_t start, end;
	/* where what it is a piece of begins, and moves along (shmdt goes by it); 0: of no interest
	 */
	uint64_t base;
	struct range_owner owner;
};

struct range_set {
	struct range_chunk **chunks; /* by address, none empty */
	size_t n_chunks, cap_chunks;
	size_t n_ranges;
	uint64_t bytes;
};

/* Ranges that were taken out, by address. */
struct range_list {
	struct range *items;
	size_t n_items, cap_items;
};

/* { 0 } is empty. */
void range_set_clear(struct range_set *s);
void range_set_list_clear(struct range_list *l);

/* All of these: @start and @end are page-aligned, or at least consistent; an
 * empty range is nothing. -ENOMEM: the set is valid, but perhaps cut at @start
 * or @end. */

/* Put @r in place of what is there. */
int range_set_insert(struct range_set *s, const struct range *r, struct error *err);
/* The same only where nothing is yet. */
int range_set_fill(struct range_set *s, const struct range *r, struct error *err);
/* Take everything in [@start, @end) out, append it to @removed if not NULL. */
int range_set_remove(struct range_set *s, uint64_t start, uint64_t end, struct range_list *removed,
                     struct error *err);
/* Put ranges back that were taken out, @distance bytes further on. */
int range_set_restore(struct range_set *s, const struct range_list *l, uint64_t distance,
                      struct error *err);
/* What is in [@start, @end) has this protection (the bits of @mask) or flag now. */
int range_set_protect(struct range_set *s, uint64_t start, uint64_t end, uint8_t prot, uint8_t mask,
                      struct error *err);
int range_set_flag(struct range_set *s, uint64_t start, uint64_t end, uint16_t set, uint16_t unset,
                   struct error *err);
int range_set_copy(const struct range_set *from, struct range_set *to, struct error *err);

/* The range that holds @addr; NULL: none. Valid until the next change. */
const struct range *range_set_find(const struct range_set *s, uint64_t addr);

/* Walk the ranges that touch [@start, ...): begin with range_set_from(), then
 * range_set_next(); NULL at the end. No change in between. */
struct range_at {
	size_t chunk, item;
};
const struct range *range_set_from(const struct range_set *s, uint64_t start, struct range_at *at);
const struct range *range_set_next(const struct range_set *s, struct range_at *at);
