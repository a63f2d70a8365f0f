/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the heaps of a process hold at one moment, summed up by allocator: for
 * commands that look, do something, and look again. The surprising rule: live
 * bytes are what the program holds. Where the allocator's own figure counts what
 * threads have cached, those are taken off, so that a block that was freed into
 * a cache counts as freed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "map/ladder.h"
#include "runtime/runtime_trim.h"

/* A process that is looked at more than once. */
struct heaps_session {
	struct target *target;
	struct symbol_pool *pool;
	struct symbol_space *space;
};
int heaps_open(pid_t pid, struct heaps_session *ret, struct error *err);
void heaps_close(struct heaps_session *s); /* { 0 } is empty */

enum { HEAPS_MAX = 16, HEAPS_MAX_FIGURES = 40 };

struct heaps_heap {
	const char *name;                /* "glibc"; a runtime's kind: "go" */
	const struct runtime_trim *trim; /* NULL: not an allocator that can be asked */
	bool is_inside;                  /* its blocks are another one's, too: not to be added up */
	int64_t resident_bytes, virtual_bytes;          /* -1: not known */
	int64_t live_bytes, in_use_bytes, cached_bytes; /* -1: not known */
	int64_t could_trim_bytes;                       /* -1: not known */
	uint64_t checked, inconsistent;
	char unknown_why[REGIONS_TEXT_BYTES];
	struct regions_figure figures[HEAPS_MAX_FIGURES]; /* summed by key */
	size_t n_figures;
};

struct heaps {
	struct heaps_heap items[HEAPS_MAX]; /* in the order of the ladder */
	size_t n;
	int64_t resident_bytes, virtual_bytes, swap_bytes; /* of the process, from page tables */
	int64_t vm_rss_bytes;                              /* the kernel's counter */
	int64_t pss_bytes;                                 /* -1: smaps_rollup cannot be read */
	uint64_t stopped_ns;                               /* of all threads; 0: not stopped */
	struct ladder ladder;
};
void heaps_clear(struct heaps *h); /* { 0 } is empty */

/* @stop: the target stands still meanwhile, so that lists and caches are exact. */
int heaps_read(const struct heaps_session *s, bool stop, struct heaps *ret, struct error *err);
/* Heaps of @before that @after does not show although what they lay in is still mapped were not
 * recognised: they are added to it, with nothing known of them. */
void heaps_note_missing(const struct heaps *before, struct heaps *after);
/* The one of that name, or NULL. */
const struct heaps_heap *heaps_find(const struct heaps *h, const char *name);
/* A figure's value, or -1. */
int64_t heaps_value(const struct heaps_heap *h, const char *key);
