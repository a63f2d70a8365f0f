/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Go's own heap profile (runtime.mbuckets, mprof.go), read from outside: which
 * stacks allocated what, sampled by the program itself since its start. The
 * surprising rule: what the runtime publishes is the state at the end of the last
 * collection but one, so that allocations and frees are of one moment; objects
 * allocated since are not in it. Between the end of a collection and its sweep the
 * runtime adds what is due only when somebody asks; it is added here as well.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_pclntab.h"

struct go_profile_bucket {
	uint64_t at;       /* address */
	uint64_t size;     /* bytes of each object */
	uint32_t first, n; /* return addresses in pcs, the innermost first */
	uint64_t allocs, frees, alloc_bytes, free_bytes; /* sampled, not scaled */
};

struct go_profile {
	struct go_profile_bucket *items; /* the newest first; owned */
	size_t n, cap;
	uint64_t *pcs; /* owned */
	size_t n_pcs, cap_pcs;
	uint64_t rate;  /* runtime.MemProfileRate: one sample in so many bytes */
	bool has_rate;  /* it is known */
	bool is_linked; /* something in the program reads the profile; else the linker sets
	                   the rate to 0 (cmd/link, runtime.disableMemoryProfiling) */
	bool is_torn;   /* the list led nowhere: not all are here */
};
void go_profile_clear(struct go_profile *p); /* { 0 } is empty */

/* -ENOTSUP: of a version that is not known. */
int go_profile_read(const struct go_pclntab *t, struct go_profile *ret, struct error *err);
/* Of all stacks and counters: two readings of one process that have the same are of one state. */
uint64_t go_profile_fingerprint(const struct go_profile *p);

/* One bucket at @at: a stack and a size without counters appended to @p; false: none is there. */
bool go_profile_read_bucket(const struct go_pclntab *t, uint64_t at, struct go_profile *p,
                            struct error *err);

/* The rate alone, and whether the profile is read by anything: @ret's other fields stay. */
void go_profile_read_rate(const struct go_pclntab *t, struct go_profile *ret);

/* How many objects one sampled object of @size bytes stands for (runtime/pprof,
 * scaleHeapSample); 1 if @rate is 0 or 1. */
double go_profile_scale(uint64_t size, uint64_t rate);
