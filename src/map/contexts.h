/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The contexts (pools) of processes, whole trees, as profile and report. A row
 * says what the context itself has, as the program's own account does; what is
 * below it has rows of its own. The surprising rule: what malloc holds outside
 * of contexts is said only when it is proven: glibc's malloc made the blocks,
 * its own figures do not contradict each other, and the process did not run
 * between the two looks.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "profile/profile.h"
#include "runtime/runtime.h"
#include "symbol/symbol.h"
#include "target/target.h"

struct contexts_process {
	pid_t pid, ns_pid;
	char comm[64];
	char kind[64]; /* "client backend"; "" */
	pid_t leader;  /* whom a parallel worker works for; 0 */
	struct runtime_pools pools;
	int64_t malloc_bytes;  /* in use by glibc's malloc, without its caches; -1: not known */
	int64_t outside_bytes; /* of these: neither in a context nor in a parked one; -1 */
};
void contexts_process_clear(struct contexts_process *p);

/* -ENOTSUP: it has no contexts. */
int contexts_read(const struct target *t, struct symbol_space *space, struct contexts_process *ret,
                  struct error *err);

/* The processes of the server that @pid is of: it, its parent or children that run the same
 * program. Malloc'ed. */
int contexts_cluster(pid_t pid, pid_t **ret, size_t *ret_n, struct error *err);

/*
 * Value types total_bytes (default), used_bytes, free_bytes; a sample is a chain
 * of names, leaf first, with the labels pid, backend_type, leader. The report has
 * "result" = "contexts" and the tables
 *   contexts   path name ident class level total_bytes used_bytes free_bytes blocks
 *              free_chunks pid
 *   processes  pid process leader contexts total_bytes used_bytes free_bytes
 *              parked_bytes outside_bytes stopped_us     (-1: not known)
 */
int contexts_profile(const struct contexts_process *processes, size_t n, struct profile **ret,
                     struct error *err);
