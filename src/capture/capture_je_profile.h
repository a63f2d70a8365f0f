/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A dump of jemalloc's profiler (heap_v2) of a process that lives, as a profile
 * with names, build ids and inlined functions. The surprising rule: the frames
 * of the allocator itself go, as in every other profile of ours; else all of it
 * would be "prof_backtrace".
 */

#include "inject/inject.h"
#include "profile/profile.h"
#include "symbol/symbol.h"
#include "target/target.h"

/* What is jemalloc in the process, beside what its names say. */
struct capture_je_profile_own {
	const char *library;               /* path of the module that is nothing else, or NULL */
	const struct inject_range *ranges; /* its code without names, by address */
	size_t n_ranges;
};

/* @dump is hostile. -EBADMSG says which line is wrong. */
int capture_je_profile_make(const char *dump, size_t len, const struct target *t,
                            struct symbol_space *space, const struct capture_je_profile_own *own,
                            struct profile **ret, struct error *err);

/* Is it a function of jemalloc, or one that hands over to it at once (operator new, Rust's
 * __rust_alloc)? For tests. */
bool capture_je_profile_is_allocator(const char *name);
