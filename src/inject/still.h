/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * System calls in the target between which nobody else changes anything: all
 * other threads stand still. They must need none of the program's locks.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "inject/inject.h"

enum { STILL_MAX_CALLS = 4 };

/* @n calls in a row, each only if the one before came to what @expected has (else the rest is left
 * out). @may is asked when all stand still; what it says below zero is returned, and nothing is
 * called. *ret: what the last call that was made came to. Errors as of inject_syscall(); -EAGAIN
 * also where a thread has not stopped after @patience_ms (0: HELD_STOP_MS), for which the others
 * stand still: it sleeps in the kernel and may be changing something there. */
int still_calls(struct inject *in, const struct inject_call *calls, const int64_t *expected,
                size_t n, unsigned patience_ms, int (*may)(void *arg, struct error *err), void *arg,
                int64_t *ret, struct error *err);
