/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * jemalloc's functions in a stripped program: where mallctl() is, and which code
 * is the allocator's, so that no thread inside it is lent. Proven by several facts
 * that are independent of each other, or not at all. The surprising rule: what
 * belongs to jemalloc is found by its private data. No other code names it, and
 * nearly every function of it does; the rest are those that these call.
 */

#include <stdint.h>

#include "base/error.h"
#include "inject/inject.h"
#include "target/elf_file.h"

struct jemalloc_code {
	uint64_t mallctl;            /* of the file */
	struct inject_range *ranges; /* the allocator's code, of the file, by address */
	size_t n_ranges, cap_ranges;
	/* What proves it. */
	size_t leaves;    /* of the control tree */
	size_t sites;     /* calls of mallctl with a name of the tree */
	size_t functions; /* of the allocator */
};
void jemalloc_code_clear(struct jemalloc_code *c); /* { 0 } is empty; usable with cleanup() */

/* 1 found, 0 the module has no control tree. -ENOTSUP with a sentence: it has one, but a proof
 * fails. */
int jemalloc_code_find(struct elf_file *f, struct jemalloc_code *ret, struct error *err);
