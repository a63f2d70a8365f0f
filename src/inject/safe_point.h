/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * May a stopped thread be lent for a call into its allocator? Only if no frame
 * of its stack is in an allocator, the dynamic linker, fork or exit: a lock that
 * one of those holds would be waited for for ever. The surprising rule: what
 * cannot be told is unsafe. A stack that does not unwind to its base, or code
 * without a name in the library that is to be called, is a refusal.
 *
 * (Without this rule, measured: malloc_trim deadlocked its target at the second
 * call.)
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/error.h"
#include "symbol/symbol.h"
#include "target/target.h"

struct safe_point;

/* Code that no frame may be in, by address: inject_avoid(). */
struct inject_range;
struct safe_point_avoid {
	const struct inject_range *ranges;
	size_t n;
};

/* @function: what is to be called; its module's code is looked at closest. @avoid (copied) n > 0:
 * that is all of the module that matters. */
int safe_point_open(const struct target *t, struct symbol_space *space, uint64_t function,
                    const struct safe_point_avoid *avoid, struct safe_point **ret,
                    struct error *err);
struct safe_point *safe_point_close(struct safe_point *s);
void safe_point_closep(struct safe_point **s);

/* 1 safe, 0 not (@why: a few words), -errno. */
int safe_point_check(struct safe_point *s, const struct user_regs_struct *regs, char *why,
                     size_t why_bytes, struct error *err);
