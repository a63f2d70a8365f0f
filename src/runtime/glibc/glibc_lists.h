/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Lists of free chunks: fastbins, thread caches, bins. The surprising rule: since
 * glibc 2.32 a link in the first two is stored as (its own address >> 12) ^ link;
 * which of both a process does is decided by the majority of its lists, because
 * one torn link must not decide.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/glibc/glibc_arena.h"
#include "runtime/peek.h"

/* Addresses, ascending after glibc_lists_sort(). */
struct glibc_lists_set {
	uint64_t *items;
	size_t n, cap;
};
void glibc_lists_set_clear(struct glibc_lists_set *s); /* usable with cleanup() */
int glibc_lists_add(struct glibc_lists_set *s, uint64_t addr, struct error *err);
void glibc_lists_sort(struct glibc_lists_set *s); /* doubles go away */
bool glibc_lists_has(const struct glibc_lists_set *s, uint64_t addr);

struct glibc_lists_votes {
	unsigned plain, mangled;
};
/* What the link at @at says about the way links are stored. */
void glibc_lists_vote(struct peek *p, const struct maps *m, uint64_t at,
                      struct glibc_lists_votes *v);
bool glibc_lists_mangled(const struct glibc_lists_votes *v); /* undecided: yes */
uint64_t glibc_lists_link(uint64_t at, uint64_t stored, bool mangled);

/* The chunks in @a's fastbins, into @to (not sorted); their sum is added to *bytes. */
int glibc_lists_fastbins(struct peek *p, const struct glibc_arena *a, bool mangled,
                         struct glibc_lists_set *to, uint64_t *bytes, uint64_t *checked,
                         uint64_t *inconsistent, struct error *err);
/* Bytes on @a's bins, as mallinfo() counts them; for where a walk can't go. */
uint64_t glibc_lists_bin_bytes(struct peek *p, const struct glibc_arena *a, uint64_t *checked,
                               uint64_t *inconsistent);
