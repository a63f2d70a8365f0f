/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Figures that only jemalloc itself has, by their names in its tree ("stats.resident",
 * "stats.arenas.0.bins.3.nfills", "stats.mutexes.ctl.num_wait"): what it counted, its locks,
 * what it purged, its background threads. The surprising rule: all are of one moment, as its
 * epoch is advanced once; and those of a class that no arena ever used are left out.
 */

#include "capture/capture_je.h"

enum {
	CAPTURE_JE_COUNT_ALL = 4096,   /* stands for all arenas in names: sums of each figure */
	CAPTURE_JE_COUNT_ARENAS = 256, /* those of higher numbers are in that sum only */
};

struct capture_je_counts {
	struct jemalloc_control_value *items;
	size_t n, cap;
};
void capture_je_counts_clear(struct capture_je_counts *c); /* { 0 } is empty */

/* -ENOTSUP: this jemalloc was built without statistics. Some hundred figures of each arena
 * (CAPTURE_JE_COUNT_ARENAS of them) and of all together, so many to a remote call as
 * jemalloc_control_get_all() says. */
int capture_je_count(struct capture_je *c, struct capture_je_counts *ret, struct error *err);
/* false: it has none of that name. */
__attribute__((format(printf, 3, 4))) bool capture_je_counts_find(const struct capture_je_counts *c,
                                                                  uint64_t *ret, const char *format,
                                                                  ...);

/* Names of its locks, of all arenas and of each: up to a NULL. */
extern const char *const capture_je_count_mutexes[], *const capture_je_count_arena_mutexes[];
