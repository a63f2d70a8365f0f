/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A dump of jemalloc's profiler (heap_v2) of a process that lives, as a profile
 * with names, build ids and inlined functions. The surprising rule: the frames
 * of the allocator itself go, as in every other profile of ours; else all of it
 * would be "prof_backtrace".
 */

#include "profile/profile.h"
#include "symbol/symbol.h"
#include "target/target.h"

/* @dump is hostile. @library: path of the module that is nothing but jemalloc, or NULL. -EBADMSG
 * says which line is wrong. */
int capture_je_profile_make(const char *dump, size_t len, const struct target *t,
                            struct symbol_space *space, const char *library, struct profile **ret,
                            struct error *err);

/* Is it a function of jemalloc, or one that hands over to it at once (operator new, Rust's
 * __rust_alloc)? For tests. */
bool capture_je_profile_is_allocator(const char *name);
