/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How an allocator is told to give free memory back to the kernel: which of its
 * functions does it, as data in each runtime's folder, and the call itself. The
 * surprising rule: some functions look after the calling thread's memory only;
 * such a step is made in every thread that can be lent.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "inject/inject.h"
#include "symbol/symbol.h"
#include "target/target.h"

enum { RUNTIME_TRIM_STEPS = 3 };

struct runtime_trim_step {
	const char *const *functions; /* symbols; the first that a module defines is meant */
	const char *text;             /* the first argument is the address of this; or NULL */
	uint64_t args[6];
	bool each_thread;
	bool caches;      /* empties the thread's cache: only where asked for */
	bool is_returned; /* what it returns is an errno: 0, or the step failed */
};

struct runtime_trim {
	const char *allocator;    /* "glibc": the same in text and JSON */
	const char *const *kinds; /* of its heaps, REGIONS_...; NULL-terminated */
	const char *call;         /* for people: "malloc_trim(0)"; NULL: there is none */
	const char *never;        /* why; a sentence's second half */
	const char *figure;       /* of its heaps: what the call would give back */
	bool cached_is_used;      /* in_use_bytes counts what threads have cached */
	struct runtime_trim_step steps[RUNTIME_TRIM_STEPS]; /* without functions: no more */
	/* Its one function is mallctl(), which is found in a stripped program, too
	 * (jemalloc_control.h). */
	bool is_mallctl;
};

/* The allocator whose heaps have @kind, or NULL. */
const struct runtime_trim *runtime_trim_of(const char *kind);

/* Where its functions are. */
struct runtime_trim_found {
	uint64_t functions[RUNTIME_TRIM_STEPS];
	uint64_t errno_location;
	/* Found without symbols: the allocator's code, for inject_avoid(). */
	struct inject_range *ranges;
	size_t n_ranges;
};
void runtime_trim_found_clear(struct runtime_trim_found *f); /* { 0 } is empty */

/* -ENOTSUP: it has no such function, or it cannot be found; a sentence says which. */
int runtime_trim_find(const struct runtime_trim *trim, const struct target *t,
                      struct symbol_space *space, struct runtime_trim_found *ret,
                      struct error *err);

struct runtime_trim_done {
	unsigned calls;        /* made */
	unsigned threads_left; /* of a step for each thread: could not be lent in time */
	uint64_t result;       /* of the last one */
	uint64_t longest_ns;   /* of a call */
};

/* Make the calls; @caches: those that empty threads' caches, too. Errors are inject_function()'s;
 * *ret is filled as far as it came in any case. */
int runtime_trim_call(const struct runtime_trim *trim, const struct runtime_trim_found *found,
                      struct inject *in, const struct target *t, bool caches, unsigned timeout_ms,
                      struct runtime_trim_done *ret, struct error *err);
