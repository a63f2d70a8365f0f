/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* threads.c lists threads, threads_stack.c finds their memory. */

#include "target/threads.h"

/* Fill tcb, stack_start and stack_end of all threads whose sp is known already,
 * and of others where memory itself shows them. Never fails: what can't be read
 * stays unknown. */
void threads_stack_find(const struct target *t, const struct maps *m, struct threads *to);
