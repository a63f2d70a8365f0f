/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Names of a target's threads, read while they live and kept. A thread that
 * still has the name of its process may be given its own later.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "target/target.h"

struct thread_names {
	struct hash_map index; /* tid -> index into names */
	char (*names)[32];
	size_t n, cap;
};

void thread_names_clear(struct thread_names *n); /* { 0 } is empty */
/* Look at all threads (512 at most: reading more every second would cost). */
void thread_names_learn(struct thread_names *n, const struct target *t);
/* Name of a thread ("tid 17" when it is gone unseen), valid until the next
 * call; @buf is used for that. */
const char *thread_names_get(const struct thread_names *n, uint32_t tid, char buf[32]);
